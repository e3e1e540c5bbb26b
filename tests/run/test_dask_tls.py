"""A scheduler that is reached over TLS, by certificates of Dask's own configuration."""

from contextlib import contextmanager, nullcontext

import dask
import pytest
from distributed import LocalCluster, Security

from edgeprune.deploy.devices import dask_client, dask_device
from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.errors import MachineError
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.evaluation.scores import Task
from edgeprune.run.dask_workers import joined
from edgeprune.run.elsewhere import Elsewhere
from edgeprune.run.portable import portable
from tests.problems import tiny_problem


@pytest.fixture(scope="module")
def secret():
    """One certificate that signs itself: scheduler, workers and client show the same."""
    return Security.temporary()


@pytest.fixture(scope="module")
def cluster(secret):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        protocol="tls",
        security=secret,
        resources={f"{dask_client.TARGET}board": 1, "GPU": 1},
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as made:
        yield made


@contextmanager
def configured(folder, secret):
    """The configuration of a user with these files."""
    content = {
        "ca-file": secret.tls_ca_file,
        "client.cert": secret.tls_client_cert,
        "client.key": secret.tls_client_key,
    }
    for name, text in content.items():
        (folder / name).write_text(text)
    named = {f"distributed.comm.tls.{name}": str(folder / name) for name in content}
    with dask.config.set(named):
        yield


def test_scores_and_latencies_are_asked_for_over_tls(cluster, secret, tmp_path):
    assert cluster.scheduler_address.startswith("tls://")
    problem = tiny_problem("resnet", fold=False)
    task = Task("F1", tuple((group.name, (0,)) for group in problem.space.groups))
    sent = portable(
        problem.trace, problem.images, ModelSpec("tests.problems:tiny_network"), "noise"
    )
    with (
        configured(tmp_path, secret),
        joined(0, cluster.scheduler_address, lambda *told: None) as workers,
    ):
        answers = Elsewhere(workers, problem.images, sent).answers(problem)
        assert list(answers([task])) == [problem.evaluator.answer(task)]
        uri = workers.device_of("board")
        assert uri == dask_device.uri_of(cluster.scheduler_address, "board")
        assert check_device(uri).fingerprint == check_device("local://").fingerprint


@pytest.mark.parametrize("has_one", [False, True])
def test_with_no_or_another_certificate_there_is_no_answer(
    has_one, cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(dask_client, "ANSWER", 2.0)
    said = rf"^no Dask scheduler answers at {cluster.scheduler_address} .*distributed\.comm\.tls"
    with (
        configured(tmp_path, Security.temporary()) if has_one else nullcontext(),
        pytest.raises(MachineError, match=said) as raised,
        joined(0, cluster.scheduler_address, lambda *told: None),
    ):
        pass
    assert raised.value.exit_code == 3
    assert len(str(raised.value)) < 400
