import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actor.evaluations import APPLICATION_ID, Evaluations, GameKey, game_key
from common.errors import StoreError

FINGERPRINT = "Stockfish; nn; nodes=100"


def key(number: int, positions: int = 4) -> GameKey:
    return GameKey(number.to_bytes(16, "big"), positions)


def row(*scores: int) -> np.ndarray:
    return np.array(scores, np.int16)


def lists(rows: list) -> list:
    return [None if found is None else found.tolist() for found in rows]


def test_what_was_put_is_got_back_by_the_next_process_too(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "evaluations.db"
    rows = [(key(1), row(1, -2, 300, -32000)), (key(2, 1), row(31999))]
    with Evaluations.open(path, FINGERPRINT) as store:
        assert lists(store.get_many([key(1), key(2, 1)])) == [None, None]
        store.put_many(rows)
        assert lists(store.get_many([key(2, 1), key(3), key(1)])) == [[31999], None, [1, -2, 300, -32000]]
    with Evaluations.open(path, FINGERPRINT) as store:
        [found] = store.get_many([key(1)])
        assert found is not None
        assert found.dtype == np.int16
        assert found.tolist() == [1, -2, 300, -32000]
        assert store.count() == 2


def test_scores_of_another_fingerprint_are_not_found(tmp_path: Path) -> None:
    with Evaluations.open(tmp_path / "e.db", FINGERPRINT) as one:
        one.put_many([(key(1), row(1, 2, 3, 4))])
        with Evaluations.open(tmp_path / "e.db", "another engine") as other:
            assert lists(other.get_many([key(1)])) == [None]
            other.put_many([(key(1), row(5, 6, 7, 8))])
        assert lists(one.get_many([key(1)])) == [[1, 2, 3, 4]]


def test_many_games_are_looked_up_at_once(tmp_path: Path) -> None:
    with Evaluations.open(tmp_path / "e.db", FINGERPRINT) as store:
        rows = [(key(number), row(number, 0, 0, 1)) for number in range(2000)]
        store.put_many(rows)
        store.put_many([])
        assert lists(store.get_many([key(number) for number in range(2001)])) == [
            *([number, 0, 0, 1] for number in range(2000)),
            None,
        ]
        assert store.get_many([]) == []


def test_later_scores_of_a_game_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    with Evaluations.open(tmp_path / "e.db", FINGERPRINT) as store:
        store.put_many([(key(1), row(1, 2, 3, 4))])
        store.put_many([(key(1), row(4, 3, 2, 1))])
        assert lists(store.get_many([key(1)])) == [[4, 3, 2, 1]]


def test_a_game_s_key_follows_from_its_start_and_moves_alone() -> None:
    assert game_key(None, ["e2e4", "e7e5"]) == game_key(None, ["e2e4", "e7e5"])
    keys = {
        game_key(None, ["e2e4", "e7e5"]).digest,
        game_key(None, ["e2e4"]).digest,
        game_key("8/8/8/8/8/8/8/8 w - - 0 1", ["e2e4", "e7e5"]).digest,
    }
    assert len(keys) == 3
    assert game_key(None, ["e2e4", "e7e5"]).positions == 3
    assert len(game_key(None, []).digest) == 16


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE evaluations SET scores = substr(scores, 1, 3)",
        "UPDATE evaluations SET scores = substr(scores, 1, length(scores) - 1)",
        "UPDATE evaluations SET scores = CAST(x'00000000' || substr(scores, 5) AS BLOB)",
        "UPDATE evaluations SET scores = x''",
        "UPDATE evaluations SET scores = x'0102030405060708090a0b'",
        "UPDATE evaluations SET scores = x'00000000' || substr(scores, 5)",
        "UPDATE evaluations SET scores = 'text instead'",
        "UPDATE evaluations SET scores = 17",
    ],
)
def test_a_damaged_row_counts_as_missing(tmp_path: Path, change: str) -> None:
    path = tmp_path / "e.db"
    with Evaluations.open(path, FINGERPRINT) as store:
        store.put_many([(key(1), row(1, 2, 3, 4))])
        other = sqlite3.connect(path)
        other.execute(change)
        other.commit()
        other.close()
        assert lists(store.get_many([key(1)])) == [None]
        store.put_many([(key(1), row(1, 2, 3, 4))])
        assert lists(store.get_many([key(1)])) == [[1, 2, 3, 4]]


def test_scores_of_another_length_than_the_game_s_count_as_missing(tmp_path: Path) -> None:
    with Evaluations.open(tmp_path / "e.db", FINGERPRINT) as store:
        store.put_many([(key(1), row(1, 2, 3, 4))])
        assert lists(store.get_many([key(1, 5)])) == [None]


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Evaluations.open(path, FINGERPRINT)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    path.write_text("these are no evaluations\n" * 1000)
    assert "delete it" in refusal(path)


def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    before = path.read_bytes()
    assert "another program's" in refusal(path)
    connection.execute("PRAGMA application_id = 77")
    connection.commit()
    assert "another program's" in refusal(path)
    connection.close()
    assert len(path.read_bytes()) == len(before)


def test_a_store_of_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "layout 99" in refusal(path)


def test_a_path_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "can't make its directory" in refusal(tmp_path / "file" / "e.db")
    assert "can't be used" in refusal(tmp_path)


def test_a_store_damaged_while_in_use_costs_evaluations_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "e.db"
    with Evaluations.open(path, FINGERPRINT) as store:
        store.put_many([(key(number, 200), np.arange(200, dtype=np.int16) * number) for number in range(500)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with Evaluations.open(path, FINGERPRINT) as store:
        assert store.get_many([key(number, 200) for number in range(500)]) == [None] * 500
    assert [record.message for record in caplog.records] == ["evaluations not looked up"]
    assert "delete it" in caplog.records[0].reason  # type: ignore[attr-defined]


def test_a_full_disk_costs_evaluations_and_they_are_kept_again_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(5)
    rows = [(key(number, 200), rng.integers(-900, 900, 200).astype(np.int16)) for number in range(900)]
    with Evaluations.open(tmp_path / "e.db", FINGERPRINT) as store:
        store.put_many(rows[:1])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        for start in (1, 300, 600):
            store.put_many(rows[start : start + 300])
        assert store.count() == 1
        store._connection.execute("PRAGMA max_page_count = 100000")
        store.put_many(rows)
        assert store.count() == 900
    # the first and the second time, then that it is over
    assert [record.message for record in caplog.records] == ["evaluations not kept"] * 2 + [
        "evaluations kept again"
    ]


def test_several_processes_make_and_fill_one_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from actor.evaluations import Evaluations, GameKey\n"
        "path, first = Path(sys.argv[1]), int(sys.argv[2])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"with Evaluations.open(path, {FINGERPRINT!r}) as store:\n"
        "    for number in range(first, first + 50):\n"
        "        digest = number.to_bytes(16, 'big')\n"
        "        store.put_many([(GameKey(digest, 1), np.array([number], np.int16))])\n"
        "        store.get_many([GameKey(digest, 1)])\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(50 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    errors = [child.communicate()[1] for child in children]
    assert errors == [""] * 4
    with Evaluations.open(path, FINGERPRINT) as store:
        assert store.count() == 200
