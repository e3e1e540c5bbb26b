"""Tasks by the word that asks for them, with a score of the user's own where one was passed."""

from edgeprune.prune.training.classification import Classification
from edgeprune.prune.training.output_error import OutputError
from edgeprune.prune.training.own_score import OwnScore, ScoreFunction
from edgeprune.prune.training.task import Task, TaskName

CLASSIFICATION: Task = Classification()


def task_of(name: TaskName, score: ScoreFunction | None = None) -> Task:
    """The task of that name, judged by ``score`` where there is one."""
    task = CLASSIFICATION if name == "classification" else OutputError()
    return task if score is None else OwnScore(task, score)
