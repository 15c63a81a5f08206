"""The registry of workloads: everything that is measured is defined here, once.

A workload names the kind of store and the layer it needs, the body of the timed loop, and how many operations a block
has. Which library is under test is decided by the adapter with which it is opened. Blocks have at least 10,000 awaits
in memory; on Redis 2,000 with many callers and some hundreds with one.
"""

from __future__ import annotations

from benchmarks.workloads import bodies, field_bodies, manager_bodies, near_bodies, scale_bodies, web_bodies
from benchmarks.workloads.bodies import Body
from benchmarks.workloads.case import Kind, Layer, Workload

VALUE = "x" * 100
SIZES = {"1kb": 1_024, "10kb": 10_240, "100kb": 102_400}  # bytes, beside the 100 of all others
MEMORY_BLOCK = 10_000
SCALES = {"100k": 100_000, "1m": 1_000_000}  # items of the workloads at the size that users have
USERS = 100
WITH_50_CALLERS: tuple[Kind, ...] = ("redis", "redis-tls", "redis-cluster")


def _provider(kind: Kind) -> list[Workload]:
    """The four calls of a provider, with one caller."""
    repeats = MEMORY_BLOCK // 1_000 if kind == "memory" else 1
    calls: list[tuple[str, str, Body]] = [
        ("get", "get of a key that is there", bodies.Get(VALUE)),
        ("set-new", "setex of a key that is not there", bodies.SetNew(VALUE)),
        ("set-over", "setex of a key that is there", bodies.SetOver(VALUE)),
        ("delete", "delete of a key that is there", bodies.Delete(VALUE)),
    ]
    return [Workload(f"{kind}.{name}", text, body, kind=kind, repeats=repeats) for name, text, body in calls]


def _manager(kind: Kind) -> list[Workload]:
    """The calls of a session manager, with one caller."""
    items, repeats = (1_000, MEMORY_BLOCK // 1_000) if kind == "memory" else (250, 1)
    calls: list[tuple[str, str, Body, str]] = [
        ("allocate", "allocate_session with user and metadata", manager_bodies.Allocate(), "set-new"),
        ("validate", "validate_session of a live session", manager_bodies.Validate(), "get"),
        ("update", "update_session_metadata with one field", manager_bodies.Update(), "set-over"),
        ("info", "get_session_info of a live session that was read before", manager_bodies.Info(), "get"),
    ]
    return [
        Workload(
            f"manager.{kind}.{name}",
            text,
            body,
            "manager",
            kind,
            items=items,
            repeats=repeats,
            beside=f"{kind}.{provider_call}",
        )
        for name, text, body, provider_call in calls
    ]


def _payloads(kind: Kind) -> list[Workload]:
    """Values larger than usual, and objects as JSON."""
    items, repeats = (1_000, MEMORY_BLOCK // 1_000) if kind == "memory" else (500, 1)
    calls: list[tuple[str, str, Body]] = []
    for name, size in SIZES.items():
        value = "x" * size
        calls.append((f"set-{name}", f"setex of {size:,} bytes over a key that is there", bodies.SetOver(value)))
        calls.append((f"get-{name}", f"get of {size:,} bytes", bodies.Get(value)))
    calls.append(("set-json", "json.dumps of an object and setex", bodies.SetJson()))
    calls.append(("get-json", "get and json.loads of it", bodies.GetJson()))
    return [
        Workload(f"{kind}.{name}", text, body, kind=kind, items=items, repeats=repeats) for name, text, body in calls
    ]


def _cycle(kind: Kind) -> Workload:
    """The published concurrency test: 5 workers of 100 cycles."""
    repeats = MEMORY_BLOCK // 500 if kind == "memory" else 1
    return Workload(
        f"{kind}.cycle.5",
        "setex, get and delete of a key",
        bodies.Cycle(VALUE),
        kind=kind,
        callers=5,
        items=100,
        repeats=repeats,
        unit="cycle",
    )


def _many_callers() -> list[Workload]:
    """Concurrent callers on Redis."""
    get, validate = bodies.Get(VALUE), manager_bodies.Validate()
    return [
        Workload("redis.get.5", "get of a key that is there", get, kind="redis", callers=5, items=100, passes=2),
        *[
            Workload(f"{kind}.get.50", "get of a key that is there", get, kind=kind, callers=50, items=20, passes=2)
            for kind in WITH_50_CALLERS
        ],
        Workload("redis.get.500", "get of a key that is there", get, kind="redis", callers=500, items=2, passes=10),
        Workload(
            "manager.redis.validate.50",
            "validate_session of a live session",
            validate,
            "manager",
            "redis",
            callers=50,
            items=1,
            passes=40,
        ),
    ]


def _in_a_cluster() -> list[Workload]:
    """Concurrent validations whose keys are in slots of their own, and in ten slots."""
    return [
        Workload(
            f"manager.redis-cluster.validate{name}.50",
            f"validate_session of live sessions of {text}",
            manager_bodies.ValidateForMany(users),
            "manager",
            "redis-cluster",
            callers=50,
            items=20,
            passes=2,
        )
        for name, text, users in (("", "as many users", 0), ("-hot", "ten users", 10))
    ]


def _observed() -> list[Workload]:
    """A call whose operations are counted, and one whose round trips are measured."""
    get = bodies.Get(VALUE)
    return [
        Workload(
            "manager.memory-counted.validate",
            "validate_session of a live session",
            manager_bodies.Validate(),
            "manager",
            "memory-counted",
            repeats=MEMORY_BLOCK // 1_000,
        ),
        Workload(
            "redis-timed.get.50", "get of a key that is there", get, kind="redis-timed", callers=50, items=20, passes=2
        ),
    ]


def _with_and_without_user() -> list[Workload]:
    """Allocating for users, whose sessions are indexed, and for nobody, whose are not."""
    bodies_ = {"for-users": manager_bodies.AllocateForMany(USERS), "for-nobody": manager_bodies.AllocateForMany(0)}
    kinds: list[Kind] = ["redis", "redis-cluster"]
    return [
        Workload(
            f"manager.{kind}.allocate-{name}.{callers}",
            f"allocate_session with metadata {name.replace('-', ' ')}",
            body,
            "manager",
            kind,
            callers=callers,
            items=2_000 // callers,
        )
        for kind in kinds
        for callers in (50, 500)
        for name, body in bodies_.items()
    ]


def _opening() -> list[Workload]:
    """Sessions that are touched and read, in one call and in two."""
    bodies_ = {
        "open": ("open_session of a live session", manager_bodies.Open()),
        "validate-and-info": ("validate_session, then get_session_info", manager_bodies.ValidateAndInfo()),
    }
    kinds: list[tuple[Kind, int]] = [("memory", 1), ("redis", 1), ("redis", 50)]
    return [
        Workload(
            f"manager.{kind}.{name}{f'.{callers}' if callers > 1 else ''}",
            text,
            body,
            "manager",
            kind,
            callers=callers,
            items=1_000 if kind == "memory" else 250 if callers == 1 else 20,
            repeats=MEMORY_BLOCK // 1_000 if kind == "memory" else 1,
            passes=2 if callers > 1 else 1,
        )
        for kind, callers in kinds
        for name, (text, body) in bodies_.items()
    ]


def _near(kind: Kind) -> list[Workload]:
    """Reads of a manager with a near cache: hits, misses, and the same without one."""
    family = "near-far" if kind == "redis-far" else "near"
    calls: list[tuple[str, str, Layer, Body, int]] = [
        ("server", "get_session_info from the server", "seldom", near_bodies.InfoOfServer(), 2),
        ("hit", "get_session_info from the near cache", "near", near_bodies.InfoHit(), 20),
        ("miss", "get_session_info that the near cache does not have", "near", near_bodies.InfoMiss(), 1),
        (
            "validate-server",
            "validate_session by the server, no touch due",
            "seldom",
            near_bodies.ValidateOfServer(),
            2,
        ),
        ("validate-hit", "validate_session from the near cache", "near", near_bodies.ValidateHit(), 20),
    ]
    return [
        Workload(
            f"{family}.{name}{f'.{callers}' if callers > 1 else ''}",
            text,
            body,
            layer,
            kind,
            callers=callers,
            items=250 if callers == 1 else 20,
            passes=passes,
            repeats=2 if callers > 1 and passes == 1 else 1,
        )
        for callers in (1, 50)
        for name, text, layer, body, passes in calls
    ]


def _fields() -> list[Workload]:
    """Sessions with fields of some size: the workloads of sealed metadata."""
    four, five = field_bodies.FOUR, field_bodies.FIVE
    calls: list[tuple[str, str, Body]] = [
        ("info-4", "get_session_info, 4 fields of 100 bytes", field_bodies.InfoOfFields(four)),
        ("info-5", "get_session_info, 4 fields of 100 bytes and one of 2 KB", field_bodies.InfoOfFields(five)),
        ("update", "update_session_metadata, one field of 100 bytes", field_bodies.UpdateOfField(four, "field-0")),
        ("update-2kb", "update_session_metadata, one field of 2 KB", field_bodies.UpdateOfField(five, "long")),
        ("allocate-4", "allocate_session, 4 fields of 100 bytes", field_bodies.AllocateWithFields(four)),
        ("validate", "validate_session, 4 fields of 100 bytes", field_bodies.ValidateWithFields(four)),
    ]
    return [
        Workload(
            f"manager.redis.fields-{name}.50",
            text,
            body,
            "manager",
            "redis",
            callers=50,
            items=40 if name == "allocate-4" else 20,
            passes=1 if name == "allocate-4" else 2,
        )
        for name, text, body in calls
    ]


def _requests() -> list[Workload]:
    """Requests through the middleware for ASGI applications."""
    calls: list[tuple[str, str, Body]] = [
        ("no-cookie", "request without a cookie", web_bodies.WithoutCookie()),
        ("read-only", "request that reads its session", web_bodies.Requests()),
        ("one-change", "request that changes one key of its session", web_bodies.OneChange()),
    ]
    return [
        Workload(f"web.{name}", text, body, "web", repeats=MEMORY_BLOCK // 1_000, unit="request")
        for name, text, body in calls
    ]


def _paths() -> list[Workload]:
    """Grid paths, and what the text alone costs."""
    names = [("artifact-key", manager_bodies.ArtifactKey()), ("f-string", manager_bodies.BareFormat())]
    return [
        Workload(f"grid.{name}", "one path of a session", body, "manager", repeats=MEMORY_BLOCK // 1_000, unit="path")
        for name, body in names
    ]


def _floor() -> Workload:
    """What awaiting costs when there is nothing to do."""
    return Workload("floor.await", "await of an async def", bodies.Bare(), repeats=MEMORY_BLOCK // 1_000)


def _expiry() -> Workload:
    """Writes of keys while older ones expire: the store's clock is moved with each write, so it is always the same."""
    return Workload(
        "memory.expiry",
        "setex of a new key while another expires",
        bodies.Expiry(VALUE),
        kind="memory-clock",
        items=MEMORY_BLOCK,
    )


def _at_scale() -> list[Workload]:
    """The calls in memory on many items, each touched once, in random order; sessions of as many users."""
    values: list[tuple[str, str, Body]] = [
        ("get", "get of a key that is there", bodies.Get(VALUE)),
        ("set-new", "setex of a key that is not there", bodies.SetNew(VALUE)),
        ("set-over", "setex of a key that is there", bodies.SetOver(VALUE)),
        ("delete", "delete of a key that is there", bodies.Delete(VALUE)),
    ]
    sessions: list[tuple[str, str, Body]] = [
        ("allocate", "allocate_session, each for another user", scale_bodies.AllocateForEach()),
        ("validate", "validate_session of a live session", scale_bodies.ValidateEach()),
        ("update", "update_session_metadata with one field", scale_bodies.UpdateEach()),
        ("info", "get_session_info of a live session", scale_bodies.InfoOfEach()),
        ("delete", "delete_session of a live session", scale_bodies.DeleteEach()),
    ]
    return [
        *[
            Workload(f"memory.{call}-of-{size}", text, body, items=items, shuffled=True)
            for size, items in SCALES.items()
            for call, text, body in values
        ],
        *[
            Workload(f"manager.memory.{call}-of-100k", text, body, "manager", items=SCALES["100k"], shuffled=True)
            for call, text, body in sessions
        ],
    ]


def _registry() -> dict[str, Workload]:
    both: list[Kind] = ["memory", "redis"]
    every = [
        *[
            workload
            for kind in both
            for workload in (*_provider(kind), *_manager(kind), *_payloads(kind), _cycle(kind))
        ],
        *[workload for workload in _provider("redis-aof") if ".set-" in workload.name],
        _expiry(),
        _floor(),
        *_many_callers(),
        *_in_a_cluster(),
        *_observed(),
        *_with_and_without_user(),
        *_opening(),
        *_fields(),
        *_near("redis"),
        *_near("redis-far"),
        *_at_scale(),
        *_paths(),
        *_requests(),
    ]
    return {workload.name: workload for workload in every}


WORKLOADS = _registry()
