"""Training, distillation, BatchNorm recalibration and evaluation."""
