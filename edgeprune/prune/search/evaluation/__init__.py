"""What a candidate is worth: problem, evaluator, archive, encoding and repair."""
