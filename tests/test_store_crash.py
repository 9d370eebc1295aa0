"""Kill the process that writes, at any moment: what it was told is written is there, whole, and the chain verifies."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from msc_vision.service.store import Store, StoreSettings, text_sha256, verify_store
from msc_vision.service.store import tables as t
from store_cases import all_rows

N_KILLS = int(os.environ.get("MSC_VISION_KILLS", "4"))  # more by hand: MSC_VISION_KILLS=50
CHILD = """
import sys, threading
from msc_vision.service.store import Store, tables as t
from store_cases import decision_row

url, prefix = sys.argv[1:]
store, lock = Store.open(url), threading.Lock()

def work(thread):
    n = 0
    while True:
        n += 1
        row = decision_row(f"{prefix}-{thread}-{n}")
        stored = store.write(lambda tx: tx.insert(t.decisions, row, who="key:mes", what="decide")).result()
        with lock:  # a line at a time: this is the acknowledgement that somebody outside has read
            print(stored["decision_id"], stored["seq"], flush=True)

for thread in range(8):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
threading.Event().wait()
"""


def acknowledged_until_killed(url, prefix, n_lines):
    """Start a process that writes, kill it (as `kill -9`) after so many acknowledgements; return all it made."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, prefix],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    deadline = threading.Timer(60, child.kill)
    deadline.start()
    lines = [child.stdout.readline() for _ in range(n_lines)]
    child.kill()
    rest, _ = child.communicate()
    deadline.cancel()
    complete = "".join(lines) + rest
    return [line.split() for line in complete.split("\n")[:-1]]


def test_what_was_acknowledged_survives_a_kill(database_url):
    generator = random.Random(database_url.split(":")[0])
    acknowledged = {}
    for kill in range(N_KILLS):
        made = acknowledged_until_killed(database_url, f"k{kill}", generator.randrange(1, 150))
        acknowledged |= {name: int(seq) for name, seq in made}
        with Store.open(database_url, StoreSettings(lock_timeout_s=20)) as store:
            store.write(lambda tx: None).result(30)  # the lock of the dead is free
            assert verify_store(store) == ()
            rows = {row["decision_id"]: row for row in all_rows(store, [t.decisions])["decisions"]}
        assert {name: rows[name]["seq"] for name in acknowledged} == acknowledged
        assert all(text_sha256(row["record"]) == row["document_sha256"] for row in rows.values())
    assert len(acknowledged) >= N_KILLS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX")
def test_a_disk_that_is_really_full_loses_nothing(sqlite_url):
    """Let no file of a child grow beyond a size: the system refuses its writes, as a full disk does."""
    path = sqlite_url.removeprefix("sqlite:///")
    code = f"""
import resource, signal
from msc_vision.service.store import Store, StoreUnavailableError, verify_store
from store_cases import add_decision

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store.open({sqlite_url!r}) as store:
    add_decision(store, "d1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    n_written, n_refused = 0, 0
    for n in range(30):
        try:
            add_decision(store, f"x{{n}}")
            n_written += 1
        except StoreUnavailableError:
            n_refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    add_decision(store, "d2")
    assert verify_store(store) == ()
    assert store.head().seq == n_written + 2
    print(n_refused > 0)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), Path(path).exists()) == ("True", True), done.stderr
