from sweetgrad.flows.cluster import local_workers


def environments(workers):
    return [worker["options"]["env"] for worker in workers.values()]


def test_local_workers__one_process_a_gpu_each_with_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    workers = local_workers("cuda", None, num_shards=25)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments(workers)] == ["3", "5"]
    assert all(worker["options"]["resources"] == {"GPU": 1} for worker in workers.values())


def test_local_workers__shares_gpus_when_more_are_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    workers = local_workers("cuda", 4, num_shards=25)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments(workers)] == ["0", "1", "0", "1"]


def test_local_workers__one_single_threaded_process_a_core(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster._num_cores", lambda: 6)
    workers = local_workers("cpu", None, num_shards=25)
    assert len(workers) == 6
    assert all(worker["options"]["nthreads"] == 1 for worker in workers.values())
    assert all(environment["OMP_NUM_THREADS"] == "1" for environment in environments(workers))
    assert all("CUDA_VISIBLE_DEVICES" not in environment for environment in environments(workers))


def test_local_workers__no_more_than_there_are_shards(monkeypatch):
    monkeypatch.setattr("sweetgrad.flows.cluster._num_cores", lambda: 6)
    assert len(local_workers("cpu", None, num_shards=2)) == 2
    assert len(local_workers("cpu", 5, num_shards=1)) == 1
