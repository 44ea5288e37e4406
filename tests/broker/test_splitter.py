from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.splitter import MAX_GAME_BYTES, LineBlock, split


def cut(text: str) -> list[tuple[int, str]]:
    block = LineBlock(text.encode().split(b"\n"))
    return [(line, game.decode()) for line, game in split([block])]


def texts(text: str) -> list[str]:
    return [game for _, game in cut(text)]


HEADERS = '[Event "a"]\n[Result "1-0"]\n'


def test_headers_and_moves_are_one_game_and_the_next_headers_begin_another() -> None:
    assert cut(f"{HEADERS}\n1. e4 e5 1-0\n\n{HEADERS}\n1. d4 d5 1-0\n") == [
        (1, f"{HEADERS}\n1. e4 e5 1-0"),
        (6, f"{HEADERS}\n1. d4 d5 1-0"),
    ]


def test_any_number_of_blank_lines_lies_within_one_game() -> None:
    game = '[Event "a"]\n\n\n[Result "1-0"]\n\n\n\n1. e4\n\n\n2... e5\n \t\n1-0'
    assert len(cut(f"\n\n{game}\n\n\n\n{game}")) == 2
    assert cut(f"\n\n{game}\n\n\n\n{game}")[1][0] == 3 + 13 + 3


def test_games_follow_one_another_without_a_blank_line() -> None:
    assert texts('[Event "a"]\n1. e4 *\n[Event "b"]\n1. d4 *') == [
        '[Event "a"]\n1. e4 *',
        '[Event "b"]\n1. d4 *',
    ]


def test_headers_without_moves_are_a_game_where_the_next_block_begins_with_the_same_tag() -> None:
    assert len(cut(HEADERS + HEADERS + "1. e4 1-0")) == 2


def test_headers_without_moves_are_a_game_where_a_tag_comes_again_after_a_blank_line() -> None:
    assert texts('[Event "a"]\n[Round "1"]\n\n[Round "2"]\n\n1. e4 *') == [
        '[Event "a"]\n[Round "1"]',
        '[Round "2"]\n\n1. e4 *',
    ]


def test_a_tag_given_twice_in_one_block_begins_no_game() -> None:
    assert len(cut('[Event "a"]\n[FEN "x"]\n[FEN "x"]\n[Round "1"]\n\n1. e4 *')) == 1


def test_several_tags_and_moves_share_one_line() -> None:
    text = '[Event "a"] [Result "*"] e4 *\n[Event "b"][Round "2"]e4{c}e5*[Event "c"]d4 *'
    assert texts(text) == [
        '[Event "a"] [Result "*"] e4 *',
        '[Event "b"][Round "2"]e4{c}e5*',
        '[Event "c"]d4 *',
    ]


@pytest.mark.parametrize(
    "tag",
    [
        r'[Event "Ugra Cup \"]',
        '[White "Bob "Bobby" B"]',
        r'[A "\"A]][\"\\"]',
        '[ Event  "spaces"]',
        '[Round"13"]',
        '[Very? "odd name"]',
        '  [Event "indented"]',
    ],
)
def test_odd_tags_are_headers_and_not_moves(tag: str) -> None:
    game = f'{tag}\n[Site "x"]\n\n1. e4 e5 *'
    assert texts(f"{game}\n\n{game}") == [game.strip()] * 2


def test_a_bracket_that_is_no_tag_begins_no_game() -> None:
    assert len(cut('[Event "a"]\n[what is this\n[Site "b"]\n\n1. e4\n[%clk 0:01:00]\ne5 *')) == 1


@pytest.mark.parametrize("marker", ["1-0", "0-1", "1/2-1/2", "*"])
def test_moves_after_a_result_are_a_new_game(marker: str) -> None:
    assert texts(f"e4 e5 {marker} d4 d5 {marker}\n1. c4 {marker}") == [
        f"e4 e5 {marker}",
        f"d4 d5 {marker}",
        f"1. c4 {marker}",
    ]


def test_moves_after_the_result_of_a_game_with_headers_are_a_new_game() -> None:
    assert texts('[Event "a"]\n\n1. e4 1-0\n\n1. d4 d5 0-1') == ['[Event "a"]\n\n1. e4 1-0', "1. d4 d5 0-1"]


def test_results_in_comments_variations_and_castling_end_nothing() -> None:
    text = "1. e4 {1-0 *} e5 (1... c5 1-0) (* 1... d5) 2. Nf3 ; 0-1\nNc6 3. 0-0 0-0-0 1/2-1/2 {so be it}\n$10"
    assert len(cut(text)) == 1


def test_comments_after_the_result_belong_to_the_game_before() -> None:
    text = '[Event "a"]\n1. e4 1-0 {resigned}\n{ over\n\n two lines } $1\n\n[Event "b"]\n1. d4 *'
    assert texts(text) == [
        '[Event "a"]\n1. e4 1-0 {resigned}\n{ over\n\n two lines } $1',
        '[Event "b"]\n1. d4 *',
    ]


def test_variations_after_the_result_belong_to_the_game_before() -> None:
    assert texts("1. e4 e5 1-0 (1... c5\n2. Nf3 0-1) {!}\n1. d4 *") == [
        "1. e4 e5 1-0 (1... c5\n2. Nf3 0-1) {!}",
        "1. d4 *",
    ]


def test_games_without_headers_and_results_begin_at_move_one_after_a_blank_line() -> None:
    assert texts("1. e4 e5\n2. Nf3\n\n1. d4 d5\n\n2. c4") == ["1. e4 e5\n2. Nf3", "1. d4 d5\n\n2. c4"]


def test_black_moves_and_later_moves_after_a_blank_line_go_on_with_the_game() -> None:
    assert len(cut("1. e4 {!}\n\n1... e5\n\n2. Nf3\n\n10. O-O")) == 1


def test_move_one_after_a_blank_line_inside_a_variation_goes_on_with_a_game_with_headers() -> None:
    assert len(cut('[Event "a"]\n1. e4 (\n\n1. d4 d5) 1... e5 *')) == 1


def test_tags_inside_comments_begin_no_game() -> None:
    text = '[Event "a"]\n\n1. e4 { [White "x"]\n[Event "b"]\n[Black "y"] }\ne5 *'
    assert texts(text) == [text]


def test_tags_of_other_names_after_a_blank_line_inside_a_comment_begin_no_game() -> None:
    assert len(cut('[Event "a"]\n\n1. e4 {\n\n[White "x"]\n}\ne5 *')) == 1


@pytest.mark.parametrize("first", ["Event", "Site"])
def test_an_unclosed_comment_ends_at_the_next_header_block(first: str) -> None:
    text = f'[{first} "a"]\n\n1. e4 {{ never closed e5 *\n\n[{first} "b"]\n\n1. d4 *'
    assert cut(text) == [
        (1, f'[{first} "a"]\n\n1. e4 {{ never closed e5 *'),
        (5, f'[{first} "b"]\n\n1. d4 *'),
    ]


def test_an_unclosed_comment_without_headers_ends_at_the_next_move_one() -> None:
    assert texts("1. e4 { oh\n\n1. d4 d5 *") == ["1. e4 { oh", "1. d4 d5 *"]


def test_an_unclosed_variation_ends_at_the_next_game() -> None:
    assert len(cut('[Event "a"]\n1. e4 (1. d4 1-0\n[Event "b"]\n1. c4 *')) == 2
    assert len(cut("1. e4 (1. d4 1-0\n\n1. c4 *")) == 2


def test_escaped_lines_and_semicolon_comments_are_not_read() -> None:
    text = '% [Event "no"]\n; 1. e4\n[Event "a"]\n% [Event "b"]\n\n1. e4\n% 1-0 d4 *\ne5 ; 1-0 d4 {\n2. Nf3 *'
    assert texts(text) == [text.split("\n", 2)[2]]


def test_garbage_around_games_is_skipped_and_lines_still_count() -> None:
    text = 'some garbage\nat the start\n\n[Event "a"]\n\n1. e4 *\n\nfinal standings: e4\n\n[Event "b"]\nd4 *'
    assert cut(text) == [(4, '[Event "a"]\n\n1. e4 *'), (10, '[Event "b"]\nd4 *')]


def test_a_comment_before_the_first_tag_is_skipped() -> None:
    assert cut('{ made by hand\n\n }\n\n[Event "a"]\n1. e4 *') == [(5, '[Event "a"]\n1. e4 *')]


def test_a_comment_before_the_first_move_of_a_game_without_headers_belongs_to_it() -> None:
    assert cut("\n\n{ made by hand }\n1. e4 *") == [(3, "{ made by hand }\n1. e4 *")]


@pytest.mark.parametrize("text", ["", "\n\n", "*\n", "% x\n", "{ only }\n", "just prose, 1. item\n"])
def test_nothing_but_filler_is_no_game(text: str) -> None:
    assert cut(text) == []


def test_headers_alone_are_a_game() -> None:
    assert texts('[Event "a"]') == ['[Event "a"]']
    assert texts('[Event "a"]\n\n*') == ['[Event "a"]\n\n*']


@pytest.mark.parametrize("filler", [b"Nf3 Nf6 Ng1 Ng8", b"{ a comment }", b"{ open", b'[X "y"]', b"%", b"(", b""])
def test_a_game_beyond_the_limit_is_cut_and_the_next_one_is_whole(filler: bytes) -> None:
    fillers = [filler] * (MAX_GAME_BYTES // (len(filler) + 1) + 100)
    long = [b'[Event "a"]', b"{!}" if filler[:1] == b"[" else b"1. e4", *fillers, b"e5 2. d4"]
    first, second = split([LineBlock(long), LineBlock([b"", b'[Event "b"]', b"1. d4 *"])])
    assert len(first[1]) == MAX_GAME_BYTES + 1
    assert second == (len(long) + 2, b'[Event "b"]\n1. d4 *')


def test_blank_lines_after_a_game_do_not_count_towards_its_size() -> None:
    assert list(split([LineBlock([b"1. e4 *"]), LineBlock([b""] * (MAX_GAME_BYTES + 10))])) == [(1, b"1. e4 *")]


def test_a_line_in_pieces_is_one_line() -> None:
    blocks = [
        LineBlock([b"e4 *"], b"e4 e5 1-0 d4"),
        LineBlock([], b" d5 1-0 c4"),
        LineBlock([b" c5 *", b"f4 *"]),
    ]
    assert list(split(blocks)) == [
        (1, b"e4 *"),
        (2, b"e4 e5 1-0"),
        (2, b"d4\n d5 1-0"),
        (2, b"c4\n c5 *"),
        (3, b"f4 *"),
    ]


PIECES = [
    "\n", "\n\n", " ", '[Event "a"]', '[Round "1"]', "1. e4", "e5", "1-0", "*", "{", "}", "(", ")", ";", "%",
    '[a "', "\\", '"]', "$1", "x",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_games_are_parts_of_the_text_in_order_and_none_overlap(pieces: Iterable[str]) -> None:
    text = "".join(pieces)
    at = 0
    for line, game in cut(text):
        assert game
        at = text.index(game.split("\n")[0], at)
        assert text.count("\n", 0, at) <= line
        at += 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_nothing_raises(data: bytes) -> None:
    list(split([LineBlock(data.split(b"\n"))]))
