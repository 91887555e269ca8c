"""A home on a working day, for the tests of Jobs and Monitoring: failures, running and waiting work, results."""

from __future__ import annotations

from typing import Any

from tests.console.driving import Driver, complete, fail, job_id, queued, run_job


def progress(done: int, total: int | None, *, unit: str = "rows", rate: float = 5100.0) -> dict[str, Any]:
    eta = None if total is None else int((total - done) / rate)
    return {
        "items_done": done,
        "items_total": total,
        "unit": unit,
        "throughput_per_sec": rate,
        "eta_seconds": eta,
        "updated_at": 0,
        "payload": {"rows": done, "bytes": done * 80, "quarantined": 0, "batches": done // 1000},
    }


def progressed(driver: Driver, made: str, done: int, total: int | None, **how: Any) -> None:
    driver.event("JobProgressed", job_id=made, epoch=1, progress=progress(done, total, **how))


def fail_many(driver: Driver, start: int, number: int, **error: Any) -> list[str]:
    made = [run_job(driver, start + at, path=f"/data/fix/venue_nyse_202401{at + 1:02d}.log") for at in range(number)]
    for each in made:
        fail(driver, each, **error)
    return made


def work_day(*, is_ascii: bool = False) -> Driver:
    """Three kinds of failure, one parser at work, one that waits, three finished ones, a scan."""
    driver = Driver(is_ascii=is_ascii)
    driver.snapshot()
    scan = job_id(900)
    driver.event("JobQueued", **queued(scan, kind="SCAN", path="/data/fix"))
    driver.event("JobLeased", job_id=scan, worker_id="w1", attempt=1, sandbox="none")
    driver.event("JobStarted", job_id=scan, epoch=driver.seq, guest_pid=1)
    scanned = {"complete": True, "files": 1247, "bytes": 9_000_000, "unchanged": 0, "unreadable": 0, "seconds": 2.0}
    driver.event("ScanFinished", scan_id=scan, **scanned)
    counts = {"rows": 1247, "quarantined": 0, "skipped": 0, "seconds": 2.0}
    driver.event("JobCompleted", job_id=scan, epoch=1, status="COMPLETED", damaged=[], **counts)
    for at in range(8):
        complete(driver, run_job(driver, 100 + at, path=f"/data/fix/lumen_{at:03d}.fix"), rows=1000 + at, bad=at % 3)
    fail_many(driver, 1, 3)
    fail(driver, run_job(driver, 20, path="/data/fix/odd name.log"), code="RESOURCE_EXHAUSTED",
         message="memory 512 MiB", fingerprint="a1b2c3d4ffff0000")  # fmt: skip
    dead = run_job(driver, 30, parser="swift", path="/data/swift/mt103.txt")
    error = {"code": "GUEST_CRASHED", "message": "signal 11", "fingerprint": "00ff00ff00ff00ff"}
    driver.event("JobDeadLettered", job_id=dead, epoch=1, reason="retries", error=error, retry_count=3)
    for at in range(4):
        driver.event("JobQueued", **queued(job_id(200 + at), version="1.1.0", path=f"/data/fix/osier_{at:03d}.fix"))
    for at in range(2):
        made = job_id(200 + at)
        driver.event("JobLeased", job_id=made, worker_id=f"w{at + 1}", attempt=1, sandbox="strong")
        driver.event("JobStarted", job_id=made, epoch=driver.seq, guest_pid=4000 + at)
        progressed(driver, made, 87_000 - at * 50_000, 100_000)
    alone = run_job(driver, 300, worker="w3", parser="mail", version="2.0.0", path="/data/mail/inbox.mbox")
    progressed(driver, alone, 30_521, None, unit="records", rate=812.0)
    return driver
