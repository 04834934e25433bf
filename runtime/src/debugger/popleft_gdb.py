"""gdb commands that show what a popleft program is doing: its tasks, and where each one waits.

    popleft tasks          all tasks: state, what each waits for, where, since when
    popleft ready          the deque, left to right
    popleft timers         deadlines, the earliest first, and whom each wakes
    popleft bt [ID]        chain of awaits of one task, or of all, down to what it waits for
    popleft step [ID]      run until the next turn begins, or the next turn of task ID
    popleft help           this text

The script is embedded in every program that is linked with popleft; gdb loads it if you allow it:

    gdb -iex 'add-auto-load-safe-path .' --args target/debug/countdown --tasks

It reads memory and calls nothing in the program, so it works on a core file as well (all but
`step`). It begins at the static `popleft::runtime::RUNNING_LOOPS`. The places of awaits come from
the debug information by way of `objdump`; without that program they are left out.
"""

import functools
import os
import re
import subprocess
import time

import gdb

DOOR = "popleft::event_loop::poll_task"
RUN = "popleft::event_loop::EventLoop::run"
STATES = ["parked", "ready", "ended"]
REASONS = ["something of its own", "read", "write", "timer", "join", "offload", "yield", "lock"]
JOIN = 4
LOCK = 7
NOBODY = 2**32 - 1
LONGEST_CHAIN = 60
VARIANT = ""  # stands for an enum's variant, which has no name of its own, in a path


class Trouble(Exception):
    """Something that the reader should be told in one line."""


# ===== values of the standard library ===========================================================


def fields(value):
    return [f.name for f in value.type.strip_typedefs().fields()]


def pointer(value):
    """The raw pointer inside NonNull, Unique, Box, RawVec and the like."""
    while value.type.strip_typedefs().code not in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        names = fields(value)
        known = ("pointer", "ptr", "inner", "buf", "p", "value", "data_ptr", "__0")
        value = value[next((n for n in known if n in names), names[0])]
    return value


def number(value):
    """The integer inside atomics, cells and newtypes."""
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        value = value[value.type.strip_typedefs().fields()[0]]
    return int(value)


def inside_cell(value):
    """What is inside a RefCell, a Mutex or an UnsafeCell."""
    while True:
        names = fields(value) if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT else []
        if "borrow" in names or names == ["value"]:
            value = value["value"]
        elif "poison" in names:
            value = value["data"]
        else:
            return value


def shared(value):
    """What an Rc points to."""
    return pointer(value).dereference()["value"]


def tasks_of(event_loop):
    return shared(event_loop["tasks"])


def vec(value):
    element = value.type.strip_typedefs().template_argument(0)
    start = pointer(value["buf"]).cast(element.pointer())
    return [(start + i).dereference() for i in range(number(value["len"]))]


def vec_deque(value):
    element = value.type.strip_typedefs().template_argument(0)
    start = pointer(value["buf"]).cast(element.pointer())
    capacity = number(value["buf"]["inner"]["cap"])
    head = number(value["head"])
    return [(start + (head + i) % capacity).dereference() for i in range(number(value["len"]))]


def variant(value):
    """The name of an enum's active variant, and what is in it. gdb resolves which it is: the
    fields of the value's own type are just that one."""
    found = [f for f in value.type.strip_typedefs().fields() if not f.artificial]
    if len(found) != 1:
        return None, None
    payload = value[found[0]]
    return last_segment(str(payload.type)), payload


def some(value):
    """What is in an Option, or None."""
    name, payload = variant(value)
    if name != "Some":
        return None
    return payload[payload.type.fields()[0]]


def slab(value):
    """The rows of a Slab that are taken, with their numbers."""
    for index, entry in enumerate(vec(value["entries"])):
        name, payload = variant(entry)
        if name == "Occupied":
            yield index, payload[payload.type.fields()[0]]


def text(value):
    """A str, Box<str>, &str or NonNull<str>."""
    while "length" not in fields(value):
        names = fields(value)
        value = value[names[0]]
    length = int(value["length"])
    if length == 0:
        return ""
    memory = gdb.selected_inferior().read_memory(int(value["data_ptr"]), length)
    return bytes(memory).decode(errors="replace").rstrip("\0")


def nanoseconds(instant):
    """An Instant as a whole number."""
    parts = []

    def collect(value):
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
            for field in value.type.strip_typedefs().fields():
                collect(value[field])
        else:
            parts.append((value.type.sizeof, int(value)))

    collect(instant)
    seconds = next(value for size, value in parts if size == 8)
    nanos = next(value for size, value in parts if size == 4)
    return seconds * 1_000_000_000 + nanos


def last_segment(name):
    """The last part of a path, generics left out: a::b::Suspend0, Option<a::B>::Some<a::B> -> Some."""
    kept, depth = "", 0
    for letter in name:
        if letter == "<":
            depth += 1
        elif letter == ">":
            depth -= 1
        elif not depth:
            kept += letter
    return kept.rsplit("::", 1)[-1]


# ===== the runtime ==============================================================================


def static(name):
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    if symbol is not None:
        return symbol.value()
    try:
        return gdb.parse_and_eval(name)
    except gdb.error:
        raise Trouble("this program has no popleft in it, or no debug information") from None


def loops():
    """The loops that are running."""
    if not gdb.selected_inferior().pid and not gdb.selected_inferior().threads():
        raise Trouble("the program is not running; `run` it, or load a core file")
    slots = static("popleft::runtime::RUNNING_LOOPS")
    low, high = slots.type.range()
    addresses = (pointer(slots[i]) for i in range(low, high + 1))
    running = [address.dereference() for address in addresses if int(address) != 0]
    if not running:
        raise Trouble("no loop is running now")
    return running


class Task:
    """One row of the table of tasks, with its record."""

    def __init__(self, event_loop, slot, running):
        self.event_loop = event_loop
        self.slot = slot
        self.record = pointer(slot["record"]).dereference()["data"]
        self.address = int(self.record.address)
        self.id = number(self.record["number"])
        self.name = self.read_name()
        self.state = STATES[min(int(self.slot["state"]), 2)]
        if self.id == running and self.state != "ended":
            self.state = "running"

    def read_name(self):
        name = some(self.record["name"])
        return None if name is None else printable(text(name.dereference()))

    def title(self):
        return f'task {self.id} "{self.name}"' if self.name else f"task {self.id}"

    def spawned_at(self):
        return place(number(self.record["spawned_at"]))

    def waits_for(self):
        """What a parked task waits for, and where."""
        why = number(self.record["why"])
        where = number(self.record["place"])
        reason = REASONS[why] if why < len(REASONS) else REASONS[0]
        if why == JOIN:
            return f"{reason} of task {where}"
        if why == LOCK:
            return f"{reason} held by task {where}" if where != NOBODY else reason
        at = place(where)
        return f"{reason} at {at}" if at else reason

    def since(self):
        """How long it has been parked: until the program stopped, where that can be known, and
        otherwise at least until the loop's last look outside."""
        now, at_least = life_of(self.event_loop)
        parked = number(self.record["since_ms"]) + (number(self.record["since_ms_upper"]) << 32)
        return f"for {at_least}{max(0, now - parked) / 1000:.1f} s"

    def body(self):
        """The task's future with its frame, wherever it lies now. None if it cannot be found."""
        boxed = some(self.slot["body"])
        if boxed is not None:
            return dereference_dyn(boxed)
        found = running_task(self.event_loop)
        if found is not None and found[0] == self.id:
            return found[1]
        return body_of_main(self.event_loop) if self.is_main() else None

    def is_main(self):
        """The main task's future lies on a stack: its box is empty also when it is parked."""
        return self.state != "running" and some(self.slot["body"]) is None


def printable(name):
    """A name on one line, whatever the program has put into it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


stopped_at = None


def note_stop(_event):
    """A sleeping loop has not looked at the clock for long, so what is read here is the time. It is
    the clock that the program reads too, unless it runs on another machine."""
    global stopped_at
    stopped_at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)


gdb.events.stop.connect(note_stop)


def life_of(event_loop):
    """For how many milliseconds the loop has lived, and what to say if it may be more."""
    looked_at = number(event_loop["clock"]["looked_at_ms"])
    if variant(tasks_of(event_loop)["world"])[0] != "Real":
        return looked_at, ""  # its clock stands still between two looks
    connection = getattr(gdb.selected_inferior(), "connection", None)
    if stopped_at is None or getattr(connection, "type", "") != "native":
        return looked_at, "at least "
    lived = (stopped_at - nanoseconds(event_loop["clock"]["started"])) // 1_000_000
    return max(looked_at, lived), ""


def tasks(event_loop):
    """The tasks that have not ended, in the order in which they were spawned."""
    slots = inside_cell(tasks_of(event_loop)["table"]["slots"])
    turn = running_task(event_loop)
    running = None if turn is None else turn[0]
    found = [Task(event_loop, slot, running) for _, slot in slab(slots)]
    return sorted((t for t in found if t.state != "ended"), key=lambda task: task.id)


def place(row):
    """`file:line` of a place by its number; None when it is not known."""
    if row in (1, 2):
        return "via AsyncRead" if row == 1 else "via AsyncWrite"
    table = some(inside_cell(static("popleft::base::place::PLACES")))
    rows = [] if table is None else vec(table["rows"])
    return location(rows[row - 3]) if 3 <= row < 3 + len(rows) else None


def location(value):
    """`file:line` of a core::panic::Location."""
    if value.type.strip_typedefs().code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        value = value.referenced_value()
    names = fields(value)
    file = value[next(n for n in names if n.startswith("file"))]
    return f"{short(text(file))}:{int(value['line'])}"


def short(path):
    """A path as one knows it: not through the machine's registry, nor from the root."""
    for marker in ("/registry/src/", "/git/checkouts/"):
        if marker in path:
            return path.split(marker, 1)[1].split("/", 1)[-1]
    if "/library/" in path:
        return path.split("/library/", 1)[1]
    if path.startswith("/"):
        here = os.getcwd() + "/"
        return path[len(here) :] if path.startswith(here) else path
    return path


# ----- futures that lie on a stack -----


def frames():
    """All frames of all threads, with the thread selected to which each belongs."""
    selected = gdb.selected_thread()
    frame_before = gdb.selected_frame() if selected is not None else None
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            frame = gdb.newest_frame()
            while frame is not None:
                yield frame
                frame = frame.older()
    finally:
        if selected is not None:
            selected.switch()
            if frame_before is not None and frame_before.is_valid():
                frame_before.select()


def variable(frame, name):
    try:
        value = frame.read_var(name)
        return None if value.is_optimized_out else value
    except (ValueError, gdb.error):
        return None


def running_task(event_loop):
    """The number and the body of the task that has its turn, from the frame of `poll_task`."""
    for frame in frames():
        if frame.name() != DOOR:
            continue
        task, body = variable(frame, "task"), variable(frame, "body")
        if task is None or body is None or not is_frame_of(frame, event_loop):
            continue
        return int(task["number"]), on_a_stack(body)
    return None


def is_frame_of(frame, event_loop):
    """Whether a frame belongs to this loop; only worth asking when there are several."""
    if len(loops()) == 1:
        return True
    while frame is not None:
        this = variable(frame, "self")
        if (frame.name() or "").startswith("popleft::event_loop::EventLoop") and this is not None:
            return int(pointer(this)) == int(event_loop.address)
        frame = frame.older()
    return False


def body_of_main(event_loop):
    for frame in frames():
        if frame.name() == RUN and is_frame_of(frame, event_loop):
            body = variable(frame, "main_body")
            return None if body is None else on_a_stack(body)
    return None


def on_a_stack(fat):
    """The same as `dereference_dyn`, or None where the optimiser has left no pointer."""
    try:
        return dereference_dyn(fat)
    except gdb.error:
        return None


def dereference_dyn(fat):
    """The value behind a `dyn` pointer, with its concrete type, which gdb knows by the vtable."""
    while "vtable" not in fields(fat):
        fat = fat[fat.type.strip_typedefs().fields()[0]]
    gdb.set_convenience_variable("popleft_fat", fat)
    return gdb.parse_and_eval("*$popleft_fat")


# ===== chains of awaits =========================================================================


def is_state_machine(kind):
    """Whether it is what the compiler makes of an async function or block."""
    return re.match(r"\{async_\w+_env#\d+\}$", last_segment(str(kind))) is not None


def is_dyn(kind):
    return kind.code == gdb.TYPE_CODE_STRUCT and {f.name for f in kind.fields()} == {
        "pointer",
        "vtable",
    }


def chain(value, depth=0, lines=None):
    """A line for this future, and for each that it awaits, down to the leaf."""
    lines = [] if lines is None else lines
    kind = value.type.strip_typedefs()
    if len(lines) >= LONGEST_CHAIN:
        return lines
    if kind.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        return chain(value.referenced_value(), depth, lines)
    if is_dyn(kind):
        return chain(dereference_dyn(value), depth, lines)
    name = str(kind)
    if name.startswith(("core::pin::Pin<", "alloc::boxed::Box<", "popleft::task::body::AlwaysOk<")):
        return chain(value[kind.fields()[0]], depth, lines)
    if name.startswith("popleft::task::body::TaskBody<"):
        which, payload = variant(value)
        if which == "Running":
            return chain(payload["future"], depth, lines)
        lines.append((depth, "(it has ended)"))
        return lines
    if is_state_machine(kind):
        return chain_of_state_machine(value, kind, depth, lines)
    held = list(futures_inside(value, 3))
    lines.append((depth, describe_leaf(value, name, bool(held))))
    for label, future in held:
        before = len(lines)
        chain(future, depth + 1, lines)
        if len(lines) > before and label:
            lines[before] = (lines[before][0], f"{label}: {lines[before][1]}")
    return lines


def chain_of_state_machine(value, kind, depth, lines):
    state, payload = variant(value)
    inside = {} if payload is None else {f.name: f for f in payload.type.fields()}
    lines.append((depth, f"{function_name(kind)}  {position(kind, state)}"))
    if "__awaitee" in inside:
        awaited = payload[inside["__awaitee"]]
        # The runtime's own wrapper around the main future says nothing to anybody.
        if "::try_block_on" in str(kind) and str(kind).startswith("popleft::runtime::"):
            lines.pop()
            return chain(awaited, depth, lines)
        chain(awaited, depth + 1, lines)
    return lines


def function_name(kind):
    path = re.sub(r"::\{async_fn_env#\d+\}", "", str(kind))
    path = re.sub(r"::\{async_block_env#(\d+)\}", r"{async block \1}", path)
    return "async " + readable(path)


def readable(name):
    """A type's name without what everybody knows."""
    name = re.sub(r"\b(core|alloc|std)::(\w+::)+", "", name)
    name = name.replace(", alloc::alloc::Global", "").replace(", Global", "")
    return name if len(name) <= 100 else name.split("<")[0] + "<..>"


def describe_leaf(value, name, holds_others):
    if name.startswith("popleft::task::join::JoinHandle<"):
        return f"JoinHandle  of task {int(value['id']['number'])}"
    if name.startswith("popleft::offload::JobFuture<"):
        return "a job on the thread pool"
    said = readable(name)
    said = re.sub(r"^popleft::(\w+::)+", "", said).split("<")[0] if "popleft::" in said else said
    at = None if holds_others else find_place(value, 3)
    return f"{said}  at {at}" if at else said


def find_place(value, levels):
    """The `at` of one of the library's futures, which knows the line of its await."""
    kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_STRUCT or levels == 0:
        return None
    for field in kind.fields():
        if field.artificial or field.name is None:
            continue
        inner = value[field]
        if field.name == "at" and "Location" in str(inner.type):
            return location(inner)
        if str(inner.type).startswith("popleft::") and (found := find_place(inner, levels - 1)):
            return found
    return None


def futures_inside(value, levels, label=""):
    """The futures that a combinator holds in its fields."""
    kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_STRUCT or levels == 0:
        return
    for field in kind.fields():
        if field.artificial:
            continue
        inner = value[field]
        inner_kind = inner.type.strip_typedefs()
        name = str(inner_kind)
        called = label or ("" if (field.name or "_").strip("_").isdigit() else field.name)
        if is_state_machine(inner_kind) or name.startswith("core::pin::Pin<"):
            yield called, inner
        elif is_dyn(inner_kind) and "Future" in name:
            yield called, inner
        elif re.match(r"popleft::(time|net|task)::", name) and called in ("future", "sleep", "wait"):
            if called == "future":
                yield called, inner
        elif "_env#" in name and inner_kind.code == gdb.TYPE_CODE_STRUCT:
            yield from futures_inside(inner, levels - 1, called)


# ----- where awaits stand -----


def position(kind, state):
    """Where an async function stands."""
    fixed = {"Unresumed": "not started", "Returned": "has returned", "Panicked": "has panicked"}
    if state in fixed:
        return fixed[state]
    if state is None:
        return "running, or optimised away"
    index = 3 + int(state[len("Suspend") :])
    points = await_points(gdb.current_progspace().filename)
    at = points.get((str(kind), str(index)))
    return f"at {short(at[0])}:{at[1]}" if at else "suspended"


@functools.lru_cache(None)
def await_points(program):
    """{(type, variant): (file, line)} of all awaits in the program.

    The compiler writes the place of an await on the member of the state machine's variant
    (DW_TAG_variant > DW_TAG_member), which gdb's Python does not hand out.
    """
    try:
        files = file_tables(objdump(program, "rawline"))
        return variant_members(objdump(program, "info"), files)
    except OSError:
        return {}


def objdump(program, what):
    command = ["objdump", "--dwarf=" + what, program]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    )
    return process.stdout


def file_tables(lines):
    """For each compilation unit, by the offset of its line table: number -> path."""
    tables, table, folders, part = {}, None, {}, None
    for line in lines:
        if line.startswith("  Offset:"):
            table = tables.setdefault(int(line.split()[1], 16), {})
            folders, part = {}, None
        elif "Directory Table" in line:
            part = "folders"
        elif "File Name Table" in line:
            part = "files"
        elif "Line Number Statements" in line:
            part = None
        elif part and line[2:3].isdigit():
            words = line.split()
            if part == "folders":
                folders[words[0]] = words[-1]
            else:
                folder = folders.get(words[1])
                table[int(words[0])] = f"{folder}/{words[-1]}" if folder else words[-1]
    return tables


def variant_members(lines, files):
    """Reads millions of lines: it looks at as little of each as it can."""
    named = ("(DW_TAG_namespace)", "(DW_TAG_structure_type)", "(DW_TAG_variant", "(DW_TAG_member)")
    points, stack, unit, file = {}, [], {}, None
    is_named, is_point = False, False
    for line in lines:
        if line.startswith(" <"):  # an entry: ` <depth><offset>: Abbrev Number: 7 (DW_TAG_..)`
            depth = int(line[2 : line.index(">")], 16)
            del stack[depth:]
            tag = line[line.rindex(" ") + 1 : -1]
            is_unit = tag == "(DW_TAG_compile_unit)"
            is_named = is_unit or tag.startswith(named)
            is_point = tag == "(DW_TAG_member)" and stack[-1:] == [VARIANT]
            stack.extend([None] * (depth - len(stack)))
            stack.append(VARIANT if tag == "(DW_TAG_variant)" else None)
        elif not is_named:
            continue
        elif "DW_AT_name" in line:
            mark = "): " if "(ind" in line or "(alt" in line else ": "
            if stack[-1] is None:
                stack[-1] = line.split(mark, 1)[-1].strip()
        elif "DW_AT_stmt_list" in line:
            unit = files.get(int(line.rsplit(":", 1)[-1], 0), {})
        elif is_point and "DW_AT_decl_file" in line:
            file = int(line.rsplit(":", 1)[-1].split()[0])
        elif is_point and "DW_AT_decl_line" in line:
            path = "::".join(name for name in stack[1:-3] if name)
            if "_env#" in path:
                line_number = int(line.rsplit(":", 1)[-1])
                points[(path, stack[-1])] = (unit.get(file, "?"), line_number)
    return points


# ===== the commands =============================================================================


def each_loop():
    """The loops, with a line that names each when there are several."""
    running = loops()
    for event_loop in running:
        if len(running) > 1:
            print(f"loop {text_of_string(event_loop['name'])}:")
        yield event_loop


def text_of_string(value):
    """A String."""
    bytes_of = value["vec"]
    length = number(bytes_of["len"])
    if length == 0:
        return ""
    start = int(pointer(bytes_of["buf"]).cast(gdb.lookup_type("u8").pointer()))
    return bytes(gdb.selected_inferior().read_memory(start, length)).decode(errors="replace")


def wanted(argument):
    """The number of a task that was given, or None."""
    words = argument.split()
    if not words:
        return None
    if len(words) > 1 or not words[0].isdigit():
        raise Trouble(f"{argument!r} is no task number; `popleft tasks` lists them")
    return int(words[0])


def show_tasks(argument):
    for event_loop in each_loop():
        rows = []
        for task in tasks(event_loop):
            waits = ""
            if task.state == "parked":
                waits = f"{task.waits_for()}, {task.since()}"
            rows.append([str(task.id), task.name or "-", task.state, waits, task.spawned_at() or "?"])
        print_table(["id", "name", "state", "waits for", "spawned at"], rows)


def print_table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        print("  ".join(cells).rstrip())


def show_ready(argument):
    for event_loop in each_loop():
        titles = {task.id: task.title() for task in tasks(event_loop)}
        deque = vec_deque(inside_cell(tasks_of(event_loop)["ready"]["tasks"]))
        numbers = [int(id["number"]) for id in deque]
        if not numbers:
            print("the deque is empty")
        for task in numbers:
            print(titles.get(task, f"task {task}, which has ended"))


def show_timers(argument):
    for event_loop in each_loop():
        known = {task.id: task.title() for task in tasks(event_loop)}
        by_address = {task.address: task.title() for task in tasks(event_loop)}
        timers = shared(event_loop["timers"])
        rows = dict(slab(inside_cell(timers["rows"])))
        started = nanoseconds(timers["started"])
        looked_at = nanoseconds(event_loop["clock"]["looked_at"])
        heap = vec(inside_cell(timers["heap"])["data"])
        entries = [entry[entry.type.strip_typedefs().fields()[0]] for entry in heap]
        entries += vec(inside_cell(timers["fresh"]))
        found = []
        for entry in entries:
            row = rows.get(int(entry["row"]))
            if row is None or int(row["sequence"]) != int(entry["sequence"]):
                continue  # taken back; it leaves the heap when it comes to the top
            kind, payload = variant(row["waker"])
            target = payload[payload.type.fields()[0]]
            if kind == "Task":
                whom = known.get(int(target["number"]), "a task that has ended")
            else:
                data = int(pointer(target["waker"]["data"]))
                whom = by_address.get(data, "a foreign waker")
            due = started + int(entry["due_ns"]) - looked_at
            found.append((due, int(entry["sequence"]), whom))
        if not found:
            print("no timers are set")
        for due, _, whom in sorted(found):
            when = f"{due / 1e6:.3f} ms" if abs(due) < 10e9 else f"{due / 1e9:.1f} s"
            print(f"{when:>12} after the last look  wakes {whom}")


def show_backtrace(argument):
    want = wanted(argument)
    shown = 0
    for event_loop in each_loop():
        for task in tasks(event_loop):
            if want in (None, task.id):
                print_backtrace(task)
                shown += 1
    if not shown:
        raise Trouble(f"there is no task {want}; `popleft tasks` lists them")


def print_backtrace(task):
    waits = f", waits for {task.waits_for()}" if task.state == "parked" else ""
    if task.state == "running":
        waits = "; this is where it stood when its turn began"
    print(f"{task.title()}, {task.state}{waits}")
    body = task.body()
    if body is None:
        print("  (its future lies on a stack where the optimiser has left no trace of it)")
        return
    for depth, line in chain(body):
        print("  " + "  " * depth + line)


class Turn(gdb.Breakpoint):
    """Stops where a task's turn begins."""

    def __init__(self, want):
        super().__init__(DOOR, internal=True)
        self.silent = True
        self.want = want

    def stop(self):
        task = variable(gdb.selected_frame(), "task")
        return self.want is None or task is None or int(task["number"]) == self.want


def step(argument):
    want = wanted(argument)
    known = [task.id for event_loop in loops() for task in tasks(event_loop)]
    if want is not None and want not in known:
        raise Trouble(f"there is no task {want}; `popleft tasks` lists them")
    turn = Turn(want)
    try:
        gdb.execute("continue", to_string=True)
    except gdb.error as error:
        raise Trouble(f"the program cannot go on from here: {error}") from None
    finally:
        turn.delete()
    if not gdb.selected_inferior().pid:
        raise Trouble("the program has ended before such a turn")
    frame = gdb.selected_frame()
    if frame.name() != DOOR:
        print("stopped elsewhere:")
        gdb.execute("frame")
        return
    id = int(variable(frame, "task")["number"])
    for event_loop in loops():
        for task in tasks(event_loop):
            if task.id == id and task.state == "running":
                print(f"the turn of {task.title()} begins")
    enter_its_code(frame)


def enter_its_code(frame):
    """Goes on to the first line of the task's own code, if it can be found."""
    body = variable(frame, "body")
    future = None if body is None else on_a_stack(body)
    code = None if future is None else code_of(future)
    if code is not None:
        here = gdb.Breakpoint(f"*{code}", internal=True, temporary=True)
        here.silent = True
        gdb.execute("continue", to_string=True)
    gdb.execute("frame")


def code_of(value):
    """The address of the first line of the outermost async function's code in this future."""
    kind = outermost_state_machine(value)
    if kind is None:
        return None
    name = re.sub(r"_env#(\d+)\}$", r"#\1}", str(kind))
    symbol = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
    if symbol is None:
        return None
    start = int(symbol.value().address)
    # As gdb's own breakpoints do: behind the prologue, where the second line entry begins.
    block = gdb.block_for_pc(start)
    table = symbol.symtab.linetable()
    later = sorted(row.pc for row in table if start < row.pc < (block.end if block else start))
    return later[0] if later else start


def outermost_state_machine(value):
    kind = value.type.strip_typedefs()
    if str(kind).startswith("popleft::task::body::TaskBody<"):
        which, payload = variant(value)
        return outermost_state_machine(payload["future"]) if which == "Running" else None
    if str(kind).startswith("popleft::task::body::AlwaysOk<"):
        return outermost_state_machine(value[kind.fields()[0]])
    if kind.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        return outermost_state_machine(value.referenced_value())
    if is_state_machine(kind) and str(kind).startswith("popleft::runtime::"):
        state, payload = variant(value)
        names = [f.name for f in payload.type.fields()] if payload is not None else []
        inner = next((n for n in ("__awaitee", "future") if n in names), None)
        return outermost_state_machine(payload[inner]) if inner else None
    return kind if is_state_machine(kind) else None


def show_help(argument):
    print(__doc__.strip())


class Popleft(gdb.Command):
    """What a popleft program is doing; `popleft help` lists the commands."""

    def __init__(self):
        super().__init__("popleft", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, argument, from_tty):
        if argument.strip():
            print(f"there is no `popleft {argument.strip()}`:")
        show_help("")


class Subcommand(gdb.Command):
    """One of the commands; errors become one line."""

    def __init__(self, name, function, doc):
        self.function = function
        self.__doc__ = doc
        super().__init__("popleft " + name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        language = gdb.parameter("language")
        gdb.execute("set language rust", to_string=True)
        try:
            self.function(argument)
        except Trouble as trouble:
            raise gdb.GdbError(f"popleft: {trouble}") from None
        except (gdb.error, KeyError, StopIteration, RuntimeError) as error:
            if os.environ.get("POPLEFT_GDB_TRACE"):
                raise
            raise gdb.GdbError(
                f"popleft: the program's memory cannot be read as expected ({error}); a build with "
                "full debug information shows more"
            ) from None
        finally:
            gdb.execute(f"set language {language}", to_string=True)


Popleft()
Subcommand("tasks", show_tasks, "All tasks: state, what each waits for, where, since when.")
Subcommand("ready", show_ready, "The deque of ready tasks, left to right.")
Subcommand("timers", show_timers, "Deadlines, the earliest first, and whom each wakes.")
Subcommand("bt", show_backtrace, "The chain of awaits of task ID, or of all tasks.")
Subcommand("step", step, "Run until the next turn begins, or the next turn of task ID.")
Subcommand("help", show_help, "The commands.")
