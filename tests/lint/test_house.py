"""The lint of the house: it lets this checkout pass, and finds what goes against the arrows."""

from __future__ import annotations

import dataclasses
import pathlib

import draw
import house
import imports
import pytest
import sizes
from arrows import ROOMS

HOUSE = {
    "core/fws.h": '#include "engine/engine.h"\n',
    "core/engine/engine.h": '#include "../websocket/websocket.h"\n#include <pthread.h>\n',
    "core/engine/engine.c": '#include "engine.h"\n\nint fws_engine_begin(void)\n{\n    return 0;\n}\n',
    "core/websocket/websocket.h": '#include "work.h"\n',
    "core/websocket/work.h": '#include "../io/loop.h"\n',
    "core/io/loop.h": "int fws_loop_wait(int milliseconds);\n",
    "core/io/loop_poll.c": '#include "loop.h"\n\nint fws_loop_wait(int milliseconds)\n{\n}\n',
    "core/protocol/frame.h": "#include <stddef.h>\n",
    "binding/module.c": '#include "../core/fws.h"\n#include <Python.h>\n',
}


@pytest.fixture
def mistakes(tmp_path):
    """Those of a small house in which some files are others."""

    def look(files=(), rooms=ROOMS):
        for name, text in {**HOUSE, **dict(files)}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return house.mistakes(tmp_path, rooms)

    return look


def test_this_checkout_is_right():
    assert house.mistakes(house.ROOT) == []
    assert list(sizes.large_files(sizes.ROOT)) == []


def test_every_include_of_ours_is_looked_at():
    found = list(house.includes(house.ROOT))
    assert len({include.file for include in found}) > 100
    assert {"core", "binding", "bench", "fuzz", "tests"} == {i.file.split("/")[0] for i in found}


def test_the_small_house_is_right(mistakes):
    assert mistakes() == []


@pytest.mark.parametrize(
    ("file", "name", "said"),
    [
        ("core/io/timers.h", "../websocket/websocket.h", "io may not include websocket"),
        ("core/websocket/work.c", "websocket.h", "work may not include websocket"),
        ("core/channels/table.c", "../websocket/websocket.h", "table may not include websocket"),
        ("core/channels/publish.c", "../engine/engine.h", "publish may not include engine"),
        ("core/protocol/frame.c", "io/loop.h", "protocol may not include io"),
        ("core/memory/pool.c", "../io/loop.h", "memory may not include io"),
        ("binding/types.c", "../core/engine/engine.h", "binding may not include engine"),
        ("fuzz/fuzz_x.c", "websocket/websocket.h", "fuzz may not include websocket"),
        ("bench/load/x.c", "../../core/io/loop.h", "bench may not include io"),
        ("bench/x.c", "protocol/frame.h", "bench may not include protocol"),
        ("core/engine/turn.c", "../fws.h", "engine may not include fws.h"),
    ],
)
def test_an_include_against_an_arrow_is_found(mistakes, file, name, said):
    # However it is laid out; and not what a comment says, which is no include.
    text = f'/* why:\n * #include "nothing.h" */\n  #  include   "{name}" /* because */\n'
    found = mistakes({file: text})[0]
    assert found == f'{file}:3: "{name}" goes against the arrows: {said}'


def test_an_include_along_an_arrow_is_none(mistakes):
    assert mistakes({"core/channels/publish.c": '#include "../websocket/websocket.h"\n'}) == []
    assert mistakes({"fuzz/fuzz_x.c": '#include "fws.h"\n'}) == []


def test_an_include_that_leads_nowhere_is_found(mistakes):
    (found,) = mistakes({"core/io/timers.h": '#include "heap.h"\n'})
    assert found == 'core/io/timers.h:1: "heap.h" is found neither beside the file nor in core/'


def test_a_file_without_a_room_is_found(mistakes):
    (found,) = mistakes({"core/attic/old.c": ""})
    assert found == "core/attic/old.c is in no room of arrows.py"


@pytest.mark.parametrize(
    ("file", "header"),
    [
        ("core/io/timers.c", "Python.h"),
        ("core/protocol/frame.c", "sys/socket.h"),
        ("core/protocol/frame.c", "pthread.h"),
        ("core/protocol/frame.c", "time.h"),
    ],
)
def test_a_system_header_that_is_not_for_it_is_found(mistakes, file, header):
    (found,) = mistakes({file: f"#include <{header}>\n"})
    assert found.startswith(f'{file}:1: "{header}" is not for core/')


def test_a_circle_between_rooms_is_found_even_if_the_table_allows_it(mistakes):
    rooms = dict(ROOMS)
    up = (*rooms["websocket"].may_include, "engine")
    rooms["websocket"] = dataclasses.replace(rooms["websocket"], may_include=up)
    circle = {"core/websocket/websocket.h": '#include "work.h"\n#include "../engine/engine.h"\n'}
    table, found = mistakes(circle, rooms)
    assert table == "arrows.py: websocket may include engine, which does not stand below it"
    modules = "core/engine/engine, core/websocket/websocket"
    assert found == f"a circle of 2 modules: {modules}; it goes through several rooms"


def test_one_object_in_several_files_may_be_a_circle_and_no_other_room(mistakes):
    def circle(folder, a="a", b="b"):
        return {f"{folder}/{a}.c": f'#include "{b}.h"\n', f"{folder}/{b}.h": f'#include "{a}.h"\n'} | {
            f"{folder}/{a}.h": ""
        }

    assert mistakes(circle("core/websocket")) == []
    (found,) = mistakes(circle("core/memory"))
    assert found == "a circle of 2 modules: core/memory/a, core/memory/b; memory may have none"
    assert len(mistakes(circle("core/websocket", "c", "d"))) == 2  # that, and the second in one room


def test_a_function_that_another_room_declares_is_found(mistakes):
    """Otherwise a lower room could call an upper one behind the includes' back."""
    (found,) = mistakes({"core/io/timers.h": "int fws_engine_begin(void);\n"})
    assert found.startswith(
        "core/io/timers.h: fws_engine_begin is declared in io, but defined in engine"
    )


def test_a_room_that_is_none_is_found(mistakes):
    rooms = {**ROOMS, "stats": dataclasses.replace(ROOMS["stats"], may_include=("cellar",))}
    assert mistakes((), rooms) == ["arrows.py: stats may include cellar, which is no room"]


# ---- the picture ----


def test_the_picture_is_of_this_checkout():
    assert draw.PICTURE.read_text() == draw.picture(house.ROOT)


def test_the_picture_changes_with_the_includes(mistakes, tmp_path):
    mistakes()
    before = draw.picture(tmp_path)
    assert draw.arrows(tmp_path) == {
        ("binding", "fws.h"),
        ("fws.h", "engine"),
        ("engine", "websocket"),
        ("websocket", "work"),
        ("work", "io"),
    }
    mistakes({"core/io/loop.h": '#include "clock.h"\n', "core/io/clock.h": ""})
    assert ("io", "clock") in draw.arrows(tmp_path)
    assert draw.picture(tmp_path) != before


def test_of_a_circle_there_is_no_picture(mistakes, tmp_path):
    mistakes({"core/io/loop.h": '#include "../engine/engine.h"\n'})
    with pytest.raises(ValueError, match=r"a circle of rooms.*: engine, io, websocket, work"):
        draw.picture(tmp_path)


def test_an_arrow_that_a_longer_way_says_already_is_left_out(mistakes, tmp_path):
    mistakes({"core/engine/turn.c": '#include "../io/loop.h"\n'})
    assert ("engine", "io") in draw.arrows(tmp_path)
    assert ("engine", "io") not in draw.shortened(draw.arrows(tmp_path))
    assert ("engine", "websocket") in draw.shortened(draw.arrows(tmp_path))


# ---- sizes ----


def test_a_file_of_five_hundred_lines_is_found(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "short.c").write_text("\n" * 499)
    (tmp_path / "core" / "long.c").write_text("\n" * 500)
    assert list(sizes.large_files(tmp_path)) == ["core/long.c: 500 lines, and not fewer than 500"]


def c_file(tmp_path: pathlib.Path, text: str) -> pathlib.Path:
    (tmp_path / "core").mkdir(exist_ok=True)
    (tmp_path / "core" / "file.c").write_text(text)
    return tmp_path


def test_functions_of_more_than_sixty_lines_are_counted(tmp_path):
    def function(name, length):
        return f"static int {name}(int a,\n    int b)\n{{\n" + "    a++;\n" * (length - 4) + "}\n"

    text = "struct x {\n    int a;\n};\n" + function("short_one", 60) + function("long_one", 61)
    assert sizes.long_functions(c_file(tmp_path, text)) == ["core/file.c: long_one, 61 lines"]


def test_constants_that_were_chosen_are_counted(tmp_path):
    text = """
#define AT_ONCE 64 /* websockets */
#define PATIENCE (3 * FWS_NS_PER_MS)
#define STOP_TIMEOUT FWS_NS_PER_S
static const size_t kept = 16;
enum { SLOTS = 8 };
enum { READABLE = 1, WRITABLE = 2, EDGE = 4 };
#define FLAG 1
#define FWS_NS_PER_MS INT64_C(1000000)
#define NOBODY SIZE_MAX
#define ROUND_UP(n_) (((n_) + 7) / 8)
"""
    names = [constant.split()[1] for constant in sizes.tuning_constants(c_file(tmp_path, text))]
    assert names == ["AT_ONCE", "PATIENCE", "STOP_TIMEOUT", "kept", "SLOTS"]


# ---- the Python part ----


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, {}),
        ({"a.py": "from .room import two"}, {"rooms": "a room"}),
        ({"room/two.py": "def f():\n    from . import one"}, {"modules": "room/one room/two"}),
        ({"a.py": "from .room import NAME"}, {"modules": "a room/__init__", "rooms": "a room"}),
        ({"other/x.py": "from ..room.one import f"}, {"rooms": "other room"}),
    ],
)
def test_imports_go_in_no_circle(tmp_path, files, said):
    package = {
        "__init__.py": "import os\n",
        "_core.pyi": "",
        "a.py": "from . import _core",
        "b.py": "from .a import f",
        "room/__init__.py": "NAME = 1\nfrom .. import a, _core",
        "room/one.py": "from . import two\nfrom ..other import y",
        "room/two.py": "",
        "other/__init__.py": "",
        "other/x.py": "",
        "other/y.py": "",
    }
    for name, text in {**package, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = dict(
        mistake.removeprefix("a circle of ").split(": ") for mistake in imports.mistakes(tmp_path)
    )
    # It may be named from any of its members.
    assert {kind: {*names.split(" -> ")} for kind, names in found.items()} == {
        kind: {*names.split()} for kind, names in said.items()
    }


def test_every_module_of_ours_is_looked_at():
    found = imports.imports(imports.ROOT)
    assert {"extension", "views/view_function", "handshake/upgrade", "servers/__init__"} <= set(found)
    assert "views/view_function" in found["routes"] and "servers/__init__" in found["extension"]
