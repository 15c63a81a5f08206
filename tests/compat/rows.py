"""The behaviour table: a name and a line of Python per row. What the last expression gives is the result.

In a row are: `m`, a manager of the sandbox `box`; `sid`, a session in it of alice with the metadata {"a": 1}; `p`, an
opened provider; `c`, the package; `k`, a key or id that no other row has; `S`, SessionMetadata; `make`, SessionManager;
`broken`, the factory of a storage that cannot be reached; `over(dict)`, a provider factory over a dict;
`from_module(factory)`, what the environment gives for a module with that factory; `allocates(factory)`, what a manager
over it does; `mock`, that of unittest;
`use(path)`, which imports a name; `asyncio`, `json` and `math`. Everything is on the same storage, memory or Redis.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ROWS", "Row"]


class Row(NamedTuple):
    """One line of the table."""

    name: str
    code: str


TABLE = """
import/manager                 | use("chuk_sessions.session_manager.SessionManager").__name__
import/metadata                | use("chuk_sessions.session_manager.SessionMetadata").__name__
import/factory-for-env         | use("chuk_sessions.provider_factory.factory_for_env").__name__
import/memory-factory          | use("chuk_sessions.providers.memory.factory").__name__
import/redis-factory           | use("chuk_sessions.providers.redis.factory").__name__
import/errors                  | [use(f"chuk_sessions.exceptions.{n}").__name__ for n in ("ProviderError", "SessionError")]
import/errors-unrelated        | issubclass(use("chuk_sessions.exceptions.ProviderError"), use("chuk_sessions.exceptions.SessionError"))
import/top-level-manager       | c.SessionManager.__name__
import/top-level-names         | [bool(getattr(c, n)) for n in ("SessionMetadata", "factory_for_env", "ProviderError", "SessionError")]
import/get-session             | use("chuk_sessions.api.get_session") is use("chuk_sessions.api.session") is c.get_session is c.session
import/enums                   | [[v.value for v in use(f"chuk_sessions.enums.{n}")] for n in ("SessionStatus", "ProviderType")]
import/enum-is-text            | c.SessionStatus.ACTIVE == "active" and json.dumps(c.ProviderType.REDIS)
import/enum-printed            | str(c.SessionStatus.ACTIVE)
import/models                  | use("chuk_sessions.models.SessionMetadata") is S
import/modules                 | c.memory.__name__, c.redis.__name__
import/csrf                    | c.CSRFTokenInfo.__name__
import/csrf-enums              | [[v.value for v in use(f"chuk_sessions.enums.{n}")] for n in ("TokenType", "ProtocolType")]
import/utc-now                 | use("chuk_sessions.utils.utc_now_iso")()[-1]

csrf/valid                     | use("chuk_sessions.utils.security.csrf.validate_csrf_token")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32), sid, "k" * 32)
csrf/other-session             | use("chuk_sessions.utils.security.csrf.validate_csrf_token")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32), k, "k" * 32)
csrf/data                      | use("chuk_sessions.utils.security.csrf.extract_csrf_token_info")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32, None, {"a": 1}), sid, "k" * 32).user_data
csrf/data-wrong-key            | use("chuk_sessions.utils.security.csrf.extract_csrf_token_info")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32, None, {"a": 1}), sid, "o" * 32).user_data
csrf/double-submit             | use("chuk_sessions.utils.security.csrf.validate_double_submit_token")(*use("chuk_sessions.utils.security.csrf.generate_double_submit_token")(sid, "k" * 32), sid, "k" * 32)
csrf/old                       | use("chuk_sessions.utils.security.csrf.validate_csrf_token")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32, 1), sid, "k" * 32)
csrf/future                    | use("chuk_sessions.utils.security.csrf.validate_csrf_token")(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32, 9_999_999_999), sid, "k" * 32)
csrf/short-key                 | type(use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k")).__name__
csrf/same-second               | len({use("chuk_sessions.utils.security.csrf.generate_csrf_token")(sid, "k" * 32, 5) for _ in range(9)})
security/ids                   | [use("chuk_sessions.utils.security.session_ids.generate_secure_session_id")(p)[:3] for p in ("generic", "mcp", "http", "websocket", "api_key", "temp_token")]
security/ids-unknown           | use("chuk_sessions.utils.security.session_ids.generate_secure_session_id")("nonsense")
security/ids-valid             | all(use("chuk_sessions.utils.security.session_ids.validate_session_id_format")(use("chuk_sessions.utils.security.session_ids.generate_secure_session_id")(p), p) for p in ("generic", "mcp", "http", "websocket", "jwt", "uuid", "temp_token"))
security/api-keys-valid        | all(use("chuk_sessions.utils.security.session_ids.validate_session_id_format")(use("chuk_sessions.utils.security.session_ids.generate_secure_session_id")("api_key"), "api_key") for _ in range(100))
security/entropy-repeated      | use("chuk_sessions.utils.security.session_ids.estimate_entropy")("x" * 300) > 64

allocate/no-arguments          | type(await m.allocate_session()).__name__
allocate/form-of-an-id         | (await m.allocate_session(user_id="alice")).split("-")[:2]
allocate/length-of-an-id       | len(await m.allocate_session(user_id="alice"))
allocate/no-user-form          | (await m.allocate_session()).split("-")[0]
allocate/user-cut              | (await m.allocate_session(user_id="averylongusername")).split("-")[1]
allocate/own-id                | await m.allocate_session(session_id="id-" + k) == "id-" + k
allocate/own-id-twice          | await m.allocate_session(k, "alice"), (await m.allocate_session(k, "alice")) == k, (await m.get_session_info(k))["user_id"]
allocate/own-id-other-user     | await m.allocate_session(k, "alice"), await m.allocate_session(k, "bob"), (await m.get_session_info(k))["user_id"]
allocate/own-id-keeps-metadata | await m.allocate_session(k, custom_metadata={"a": 1}), await m.allocate_session(k, custom_metadata={"b": 2}), (await m.get_session_info(k))["custom_metadata"]
allocate/positional            | await m.allocate_session(k, "u", 1, {"x": 1}), (await m.get_session_info(k))["custom_metadata"]
allocate/empty-id              | (await m.allocate_session("")) != ""
allocate/id-with-slash         | await m.allocate_session("a/" + k)
allocate/id-with-colon         | (await m.allocate_session("a:" + k)).startswith("a:"), await m.validate_session("a:" + k)
allocate/id-with-spaces        | await m.validate_session(await m.allocate_session("a b\\n" + k))
allocate/id-of-dots            | await m.allocate_session("..")
allocate/id-long               | (await m.allocate_session("x" * 1025 + k))[:2]
allocate/user-long             | (await m.allocate_session(user_id="x" * 65_537))[:4]
allocate/id-number             | await m.allocate_session(5)
allocate/id-unicode            | await m.validate_session(await m.allocate_session("é☃" + k))
allocate/empty-user            | (await m.get_session_info(await m.allocate_session(user_id="")))["user_id"]
allocate/odd-user              | (await m.get_session_info(await m.allocate_session(user_id="ü/:{}@ x")))["user_id"]
allocate/user-number           | await m.allocate_session(user_id=5)
allocate/no-metadata           | (await m.get_session_info(await m.allocate_session()))["custom_metadata"]
allocate/metadata-none         | (await m.get_session_info(await m.allocate_session(custom_metadata=None)))["custom_metadata"]
allocate/metadata-nested       | (await m.get_session_info(await m.allocate_session(custom_metadata={"a": {"b": [1, None, True, 1.5, "é"]}})))["custom_metadata"]
allocate/metadata-big-integer  | (await m.get_session_info(await m.allocate_session(custom_metadata={"a": 2**80})))["custom_metadata"]
allocate/metadata-nan          | (await m.get_session_info(await m.allocate_session(custom_metadata={"a": math.nan, "b": math.inf})))["custom_metadata"]
allocate/metadata-integer-key  | (await m.get_session_info(await m.allocate_session(custom_metadata={1: "a"})))["custom_metadata"]
allocate/metadata-tuple        | (await m.get_session_info(await m.allocate_session(custom_metadata={"a": (1, 2)})))["custom_metadata"]
allocate/metadata-object       | await m.allocate_session(custom_metadata={"a": object()})
allocate/metadata-set          | await m.allocate_session(custom_metadata={"a": {1}})
allocate/metadata-bytes        | await m.allocate_session(custom_metadata={"a": b"x"})
allocate/metadata-list         | await m.allocate_session(custom_metadata=["a"])
allocate/metadata-text         | await m.allocate_session(custom_metadata="a")
allocate/metadata-copied       | (d := {"a": []}, i := await m.allocate_session(custom_metadata=d), d["a"].append(1), (await m.get_session_info(i))["custom_metadata"])[3]
allocate/hours                 | seconds(await m.get_session_info(await m.allocate_session(ttl_hours=2)))
allocate/hours-default         | seconds(await m.get_session_info(await m.allocate_session()))
allocate/hours-manager-default | seconds(await (n := make(sandbox_id="box", default_ttl_hours=3)).get_session_info(await n.allocate_session()))
allocate/hours-fraction        | seconds(await m.get_session_info(await m.allocate_session(ttl_hours=0.25)))
allocate/hours-zero            | seconds(await m.get_session_info(await m.allocate_session(ttl_hours=0)))
allocate/hours-negative        | type(await m.allocate_session(ttl_hours=-1)).__name__
allocate/hours-text            | await m.allocate_session(ttl_hours="1")
allocate/hours-nan             | await m.allocate_session(ttl_hours=math.nan)
allocate/hours-infinite        | await m.allocate_session(ttl_hours=math.inf)
allocate/hours-a-millennium    | type(await m.allocate_session(ttl_hours=24 * 365 * 1000)).__name__

validate/live                  | await m.validate_session(sid)
validate/unknown               | await m.validate_session(k)
validate/empty                 | await m.validate_session("")
validate/none                  | await m.validate_session(None)
validate/long                  | await m.validate_session("x" * 1025)
validate/number                | await m.validate_session(5)
validate/list                  | await m.validate_session([])
validate/deleted               | await m.delete_session(sid), await m.validate_session(sid)
validate/touches               | (a := await m.get_session_info(sid), await asyncio.sleep(0.01), await m.validate_session(sid), b := await m.get_session_info(sid), b["last_accessed"] > a["last_accessed"], a["expires_at"] == b["expires_at"])[4:]
validate/other-sandbox         | await make(sandbox_id="other").validate_session(sid)
validate/other-manager         | await make(sandbox_id="box").validate_session(sid)
validate/deleted-elsewhere     | await make(sandbox_id="box").delete_session(sid), await m.validate_session(sid)
validate/expired               | (i := await m.allocate_session(ttl_hours=0.0003), await asyncio.sleep(1.2), await m.validate_session(i))[2]

info/keys                      | list(await m.get_session_info(sid))
info/values                    | await m.get_session_info(sid)
info/unknown                   | await m.get_session_info(k)
info/empty                     | await m.get_session_info("")
info/none                      | await m.get_session_info(None)
info/no-touch                  | (a := await m.get_session_info(sid), await asyncio.sleep(0.01), await m.get_session_info(sid) == a)[2]
info/is-a-copy                 | (await m.get_session_info(sid))["custom_metadata"].update(b=2), (await m.get_session_info(sid))["custom_metadata"]
info/time-format               | (await m.get_session_info(sid))["created_at"][-1], len((await m.get_session_info(sid))["created_at"])
info/other-sandbox             | await make(sandbox_id="other").get_session_info(sid)
info/metadata-object           | (await m.get_session_metadata(sid)).to_dict()
info/metadata-object-type      | isinstance(await m.get_session_metadata(sid), S)
info/metadata-object-unknown   | await m.get_session_metadata(k)
info/outage                    | await make(sandbox_id="box", session_factory=broken).get_session_info(k)
info/metadata-object-outage    | await make(sandbox_id="box", session_factory=broken).get_session_metadata(k)
info/makes-a-metadata-object   | S(**await m.get_session_info(sid)).custom_metadata

update/merge                   | await m.update_session_metadata(sid, {"b": 2}), (await m.get_session_info(sid))["custom_metadata"]
update/overwrite               | await m.update_session_metadata(sid, {"a": 2}), (await m.get_session_info(sid))["custom_metadata"]
update/replace                 | await m.update_session_metadata(sid, {"b": 2}, merge=False), (await m.get_session_info(sid))["custom_metadata"]
update/replace-positional      | await m.update_session_metadata(sid, {"b": 2}, False), (await m.get_session_info(sid))["custom_metadata"]
update/empty                   | await m.update_session_metadata(sid, {}), (await m.get_session_info(sid))["custom_metadata"]
update/empty-replace           | await m.update_session_metadata(sid, {}, merge=False), (await m.get_session_info(sid))["custom_metadata"]
update/nested-is-replaced      | await m.update_session_metadata(sid, {"a": {"x": 1}}), await m.update_session_metadata(sid, {"a": {"y": 2}}), (await m.get_session_info(sid))["custom_metadata"]
update/unknown                 | await m.update_session_metadata(k, {"a": 1})
update/unknown-none            | await m.update_session_metadata(None, {"a": 1})
update/object                  | await m.update_session_metadata(sid, {"a": object()})
update/keyword                 | await m.update_session_metadata(session_id=sid, custom_metadata={"b": 2}, merge=True)
update/keeps-deadline          | (a := await m.get_session_info(sid), await m.update_session_metadata(sid, {"b": 1}), (await m.get_session_info(sid))["expires_at"] == a["expires_at"])[2]
update/list                    | await m.update_session_metadata(sid, ["a"])
update/none                    | await m.update_session_metadata(sid, None)
update/after-anothers         | await make(sandbox_id="box").update_session_metadata(sid, {"x": 1}), await m.update_session_metadata(sid, {"y": 2}), sorted((await make(sandbox_id="box").get_session_info(sid))["custom_metadata"])
update/other-sandbox           | await make(sandbox_id="other").update_session_metadata(sid, {"b": 2})

extend/by-hours                | await m.extend_session_ttl(sid, 2), seconds(await m.get_session_info(sid))
extend/keyword                 | await m.extend_session_ttl(sid, additional_hours=1)
extend/fraction                | await m.extend_session_ttl(sid, 0.5), seconds(await m.get_session_info(sid))
extend/zero                    | await m.extend_session_ttl(sid, 0)
extend/negative                | await m.extend_session_ttl(sid, -1)
extend/text                    | await m.extend_session_ttl(sid, "1")
extend/unknown                 | await m.extend_session_ttl(k, 1)
extend/none                    | await m.extend_session_ttl(None, 1)

delete/live                    | await m.delete_session(sid), await m.get_session_info(sid)
delete/twice                   | await m.delete_session(sid), await m.delete_session(sid)
delete/unknown                 | await m.delete_session(k)
delete/empty                   | await m.delete_session("")
delete/none                    | await m.delete_session(None)
delete/then-allocate           | await m.allocate_session(k, custom_metadata={"a": 1}), await m.delete_session(k), await m.allocate_session(k), (await m.get_session_info(k))["custom_metadata"]
delete/other-sandbox           | await make(sandbox_id="other").delete_session(sid), await make(sandbox_id="box").validate_session(sid)

manager/cleanup                | type(await m.cleanup_expired_sessions()).__name__
manager/stats                  | sorted(m.get_cache_stats())
manager/stats-values           | [m.get_cache_stats()[n] for n in ("sandbox_id", "default_ttl_hours")]
manager/stats-counts           | (i := sid, type(m.get_cache_stats()["cached_sessions"]).__name__)[1]
manager/attributes             | m.sandbox_id, m.default_ttl_hours, callable(m.session_factory)
manager/sandbox-empty          | make(sandbox_id="").sandbox_id != ""
manager/sandbox-slash          | make(sandbox_id="a/b").sandbox_id
manager/sandbox-random         | make().sandbox_id.split("-")[0]
manager/sandbox-number         | make(sandbox_id=5).sandbox_id
manager/hours-zero             | make(sandbox_id="box", default_ttl_hours=0).default_ttl_hours
manager/hours-negative         | make(sandbox_id="box", default_ttl_hours=-1).default_ttl_hours
manager/positional             | make("box", None, 5).default_ttl_hours
manager/unknown-argument       | make(sandbox_id="box", colour="red")
manager/grid                   | m.get_canonical_prefix("s"), m.generate_artifact_key("s", "a"), m.parse_grid_key("grid/box/s/a")
manager/factory-number         | make(sandbox_id="box", session_factory=5).sandbox_id
manager/factory-uncalled       | await allocates(use("chuk_sessions.providers.memory.factory"))
manager/factory-mock           | (f := mock.MagicMock(), setattr(f.return_value.__aenter__.return_value, "get", mock.AsyncMock(return_value=None)), await allocates(f))[2]
manager/factory-set            | (d := {}, setattr(m, "session_factory", over(d)), await m.allocate_session(k), len(d), await m.validate_session(k))[3:]
manager/factory-set-mock       | (setattr(m, "session_factory", mock.MagicMock()), await m.allocate_session(k) == k)[1]
manager/factory-set-none       | setattr(m, "session_factory", None)
manager/sandbox-set            | (setattr(m, "sandbox_id", "other"), await m.allocate_session(k), (await m.get_session_info(k))["sandbox_id"])[2]
manager/sandbox-set-slash      | (setattr(m, "sandbox_id", "a/b"), m.sandbox_id)[1]
manager/hours-set              | (setattr(m, "default_ttl_hours", 1), await m.allocate_session(k), seconds(await m.get_session_info(k)))[2]
manager/hours-set-negative     | (setattr(m, "default_ttl_hours", -1), m.default_ttl_hours)[1]
manager/session-by-key         | (sid, await p.get("session:" + sid) is not None)[1]

provider/set-get               | await p.setex(k, 60, "v"), await p.get(k)
provider/overwrite             | await p.setex(k, 60, "v"), await p.setex(k, 60, "w"), await p.get(k)
provider/missing               | await p.get(k)
provider/delete                | await p.setex(k, 60, "v"), bool(await p.delete(k)), await p.get(k)
provider/delete-result         | await p.setex(k, 60, "v"), await p.delete(k)
provider/delete-missing        | bool(await p.delete(k))
provider/expires               | (await p.setex(k, 1, "v"), await asyncio.sleep(1.1), await p.get(k))[2]
provider/ttl-zero              | await p.setex(k, 0, "v"), await p.get(k)
provider/ttl-negative          | await p.setex(k, -1, "v"), await p.get(k)
provider/ttl-fraction          | await p.setex(k, 1.5, "v"), await p.get(k)
provider/ttl-text              | await p.setex(k, "60", "v")
provider/ttl-none              | await p.setex(k, None, "v")
provider/ttl-nan               | await p.setex(k, math.nan, "v")
provider/empty-value           | await p.setex(k, 60, ""), await p.get(k)
provider/empty-key             | await p.setex("", 60, "v"), await p.get("")
provider/unicode               | await p.setex(k + "é", 60, "☃"), await p.get(k + "é")
provider/large                 | await p.setex(k, 60, "x" * 100_000), len(await p.get(k))
provider/number-value          | await p.setex(k, 60, 5), await p.get(k)
provider/dict-value            | await p.setex(k, 60, {"a": 1}), await p.get(k)
provider/bytes-value           | await p.setex(k, 60, b"v"), await p.get(k)
provider/key-none              | await p.get(None)
provider/default-set           | await p.set(k, "v"), await p.get(k)
provider/close                 | await p.close(), await p.setex(k, 60, "v"), await p.get(k)
provider/shared                | (await p.setex(k, 60, "v"), q := await use("chuk_sessions.provider_factory.factory_for_env")()().__aenter__(), await q.get(k))[2]
provider/name-aliases          | [named(n) for n in ("memory", "mem", "inmemory", "redis", "redis_store", "MEMORY", "")]
provider/name-unknown          | named("no_such_provider")
provider/name-caught           | isinstance(failure(lambda: named("no_such_provider")), ModuleNotFoundError)
provider/name-valkey           | named("valkey")
provider/module                | await allocates(from_module(lambda: over({})))
provider/module-callable       | await allocates(from_module(mock.Mock(return_value=over({}))))
provider/module-context        | await allocates(from_module(over({})))
provider/module-context-given  | (f := over({}), await allocates(from_module(lambda: f())))[1]
provider/module-none           | from_module(None)
provider/module-gives-none     | from_module(lambda: None)
provider/module-type-error     | await allocates(from_module(lambda url: over({})))
provider/module-value-error    | from_module(lambda: int("x"))
provider/name-odd              | named("no such provider!")

metadata/defaults              | (s := S(session_id="i", sandbox_id="b"), s.user_id, s.expires_at, s.status, s.custom_metadata)[1:]
metadata/created-is-accessed   | (s := S(session_id="i", sandbox_id="b"), s.created_at == s.last_accessed)[1]
metadata/given-created         | S(session_id="i", sandbox_id="b", created_at="2026-01-31T12:00:00.000000Z").last_accessed
metadata/positional            | S("i", "b").session_id
metadata/missing               | S(session_id="i")
metadata/unknown               | S(session_id="i", sandbox_id="b", colour="red").session_id
metadata/to-dict               | S(session_id="i", sandbox_id="b", created_at="2026-01-31T12:00:00.000000Z").to_dict()
metadata/from-dict             | S.from_dict({"session_id": "i", "sandbox_id": "b", "user_id": "u"}).user_id
metadata/from-dict-unknown     | S.from_dict({"session_id": "i", "sandbox_id": "b", "colour": "red"}).session_id
metadata/from-dict-missing     | S.from_dict({"session_id": "i"})
metadata/expired               | S(session_id="i", sandbox_id="b", expires_at="2000-01-01T00:00:00Z").is_expired()
metadata/not-expired           | S(session_id="i", sandbox_id="b", expires_at="2999-01-01T00:00:00Z").is_expired()
metadata/without-end           | S(session_id="i", sandbox_id="b").is_expired()
metadata/nonsense-end          | S(session_id="i", sandbox_id="b", expires_at="soon").is_expired()
metadata/end-without-zone      | S(session_id="i", sandbox_id="b", expires_at="2999-01-01T00:00:00").is_expired()
metadata/touch                 | (s := S(session_id="i", sandbox_id="b", created_at="2026-01-31T12:00:00.000000Z"), s.touch(), s.last_accessed > s.created_at)[2]
metadata/status-expired        | S(session_id="i", sandbox_id="b", status="expired").status
metadata/status-unknown        | S(session_id="i", sandbox_id="b", status="bogus").status
metadata/id-number             | S(session_id=5, sandbox_id="b").session_id
metadata/assign-unknown        | setattr(S(session_id="i", sandbox_id="b"), "colour", "red")
metadata/equal                 | S(session_id="i", sandbox_id="b", created_at="x") == S(session_id="i", sandbox_id="b", created_at="x")
metadata/model-dump            | S(session_id="i", sandbox_id="b", created_at="2026-01-31T12:00:00.000000Z").model_dump()
metadata/model-validate        | S.model_validate({"session_id": "i", "sandbox_id": "b", "status": "active", "colour": 1}).status
metadata/model-validate-number | issubclass(type(failure(lambda: S.model_validate({"session_id": 5, "sandbox_id": "b"}))), ValueError)
metadata/model-validate-text   | issubclass(type(failure(lambda: S.model_validate("i"))), ValueError)
metadata/model-dump-fields     | S(session_id="i", sandbox_id="b", created_at="x").model_dump(include={"session_id", "user_id", "new"}, exclude={"user_id"})
metadata/model-dump-no-none    | S(session_id="i", sandbox_id="b", created_at="x").model_dump(mode="json", by_alias=True, exclude_none=True)
metadata/model-dump-within     | S(session_id="i", sandbox_id="b", custom_metadata={"a": 1, "b": 2}).model_dump(include={"custom_metadata": {"a"}})
metadata/model-dump-unset      | S(session_id="i", sandbox_id="b", user_id="u").model_dump(exclude_unset=True)["user_id"]
metadata/model-dump-json       | S(session_id="i", sandbox_id="b", created_at="x").model_dump_json()
metadata/model-json-indented   | S(session_id="i", sandbox_id="b").model_dump_json(indent=2, include={"session_id", "user_id"})
metadata/model-json-unicode    | S(session_id="\u2603", sandbox_id="b").model_dump_json(include={"session_id"})
metadata/model-json-nan        | S(session_id="i", sandbox_id="b", custom_metadata={"a": math.nan}).model_dump_json(include={"custom_metadata"})
metadata/model-validate-json   | S.model_validate_json('{"session_id": "i", "sandbox_id": "b", "custom_metadata": {"a": 1}}').custom_metadata
metadata/model-json-nonsense   | issubclass(type(failure(lambda: S.model_validate_json("nonsense"))), ValueError)
metadata/model-copy            | (s := S(session_id="i", sandbox_id="b"), t := s.model_copy(update={"user_id": "u"}), t.user_id, s.user_id, t.custom_metadata is s.custom_metadata)[2:]
metadata/model-copy-deep       | (s := S(session_id="i", sandbox_id="b"), t := s.model_copy(deep=True), t == s, t.custom_metadata is s.custom_metadata)[2:]
metadata/model-copy-unknown    | S(session_id="i", sandbox_id="b").model_copy(update={"colour": "red"}).session_id
metadata/pairs                 | dict(S(session_id="i", sandbox_id="b", created_at="x"))
metadata/model-fields          | list(S.model_fields)
metadata/model-schema          | S.model_json_schema()["title"]
metadata/methods-of-pydantic-1 | S(session_id="i", sandbox_id="b").dict()["session_id"]

api/get-session                | (q := await c.get_session().__aenter__(), await q.set(k, "v"), await q.get(k))[2]
api/delete                     | (q := await c.session().__aenter__(), await q.delete(k))[1]
"""

ROWS = [Row(*(part.strip() for part in line.split("|", 1))) for line in TABLE.splitlines() if "|" in line]
