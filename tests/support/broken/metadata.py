"""Stores that fail at metadata, counting, or idle times."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import orjson

from chuk_sessions.codec import text_key
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.stores import SessionRecord, counted, encode_document
from tests.support.broken.base import Broken, found_by

if TYPE_CHECKING:
    from chuk_sessions.stores import Existing, Metadata

__all__: list[str] = []


@found_by("test_replace", "test_update_with_nothing", "test_ten_thousand_fields", "test_replacing_under_the_alias")
class IgnoresReplace(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        return await self.store.update(session_id, metadata, False, **options)


@found_by(
    *("test_merge", "test_update_with_nothing", "test_samples", "test_merges_of_different_keys_lose_nothing"),
    *("test_deep_nesting", "test_ten_thousand_fields", "test_counts_lose_nothing"),
)
class AlwaysReplaces(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        return await self.store.update(session_id, metadata, True)


@found_by("test_merge")
class MergesWhatIsInside(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        record = await self.store.read(session_id)
        if record is not None and not replace:
            for key, value in metadata.items():
                if isinstance(value, dict) and isinstance(record.metadata.get(key), dict):
                    metadata = metadata | {key: record.metadata[key] | value}
        return await self.store.update(session_id, metadata, replace, **options)


@found_by("test_merges_of_different_keys_lose_nothing", "test_counts_lose_nothing")
class LosesConcurrentUpdates(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        record = await self.store.read(session_id)
        await asyncio.sleep(0)
        if record is None or replace:
            return await self.store.update(session_id, metadata, replace, **options)
        return await self.store.update(session_id, record.metadata | metadata, True)


@found_by("test_merge", "test_replace", "test_update_with_nothing", "test_accessed_follows_the_clock")
class UpdateDoesNotTouch(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        before = await self.store.read(session_id)
        self.shared[session_id] = before and before.accessed
        return await self.store.update(session_id, metadata, replace, **options)

    async def read(self, session_id: str) -> SessionRecord | None:
        accessed = self.shared.pop(session_id, None)
        return (
            await self.store.read(session_id) if accessed is None else await self.changed(session_id, accessed=accessed)
        )


@found_by("test_refused_metadata_changes_nothing")
class StoresBeforeItRefuses(Broken):
    async def create(self, session_id: str, user_id: Any, lifetime: float, metadata: Any, **options: Any) -> Any:
        try:
            return await self.store.create(session_id, user_id, lifetime, metadata, **options)
        except MetadataError:
            await self.store.create(session_id, user_id, lifetime, {})
            raise


@found_by("test_refused_metadata_changes_nothing")
class TouchesBeforeItRefuses(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        await self.store.touch(session_id, 0)
        return await self.store.update(session_id, metadata, replace, **options)


@found_by("test_refused_metadata_changes_nothing")
class RefusesWithAnotherError(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        json.dumps(metadata)
        return await self.store.update(session_id, metadata, replace, **options)


@found_by("test_samples")
class ReadsWithOrjsonAlone(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        text = json.dumps(record and record.metadata)
        return record and await self.changed(session_id, metadata=orjson.loads(text.replace("NaN", "null")))


@found_by("test_merging_keys_that_are_no_text", "test_samples")
class TakesKeysAsTheyAre(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        encode_document(metadata)
        texts = {key: value for key, value in metadata.items() if isinstance(key, str)}
        return await self.store.update(session_id, texts, replace, **options)


@found_by("test_merging_two_keys_with_one_text")
class TakesTheFirstOfTwoKeys(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        encode_document(metadata)
        texts: dict[str, Any] = {}
        for key, value in metadata.items():
            texts.setdefault(text_key(key), value)
        return await self.store.update(session_id, texts, replace, **options)


@found_by(
    *("test_removing_keys", "test_removing_under_the_alias", "test_removals_and_merges_lose_nothing"),
    *("test_removing_ten_thousand_keys", "test_any_text_is_a_key_to_remove", "test_changes_of_two_keys_are_one_step"),
)
class IgnoresRemove(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        return await self.store.update(session_id, metadata, replace)


@found_by("test_removing_a_key_that_is_not_there")
class TrustsKeysToBeThere(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        record = await self.store.read(session_id)
        if record is not None:
            [record.metadata[key] for key in options.get("remove", ())]
        return await self.store.update(session_id, metadata, replace, **options)


@found_by("test_changes_of_two_keys_are_one_step")
class RemovesInAStepOfItsOwn(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        found = await self.store.update(session_id, metadata, replace)
        await asyncio.sleep(0)
        return found and await self.store.update(session_id, {}, replace, **options)


@found_by("test_refused_metadata_removes_nothing")
class RemovesBeforeItRefuses(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        await self.store.update(session_id, {}, replace, **options)
        return await self.store.update(session_id, metadata, replace)


@found_by("test_removals_and_merges_lose_nothing")
class LosesWhatIsMergedMeanwhile(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        record = await self.store.read(session_id)
        await asyncio.sleep(0)
        if record is None or not options:
            return await self.store.update(session_id, metadata, replace)
        kept = {key: value for key, value in record.metadata.items() if key not in options["remove"]}
        return await self.store.update(session_id, kept | metadata, True)


@found_by("test_fixed_parts_cannot_be_shadowed")
class KeepsFieldsAmongMetadata(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        return record and await self.changed(session_id, user_id=record.metadata.get("user", record.user_id))


@found_by("test_counts_lose_nothing")
class CountsInTwoSteps(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        record = await self.store.read(session_id)
        await asyncio.sleep(0)
        if record is None:
            return None
        value = counted(record.metadata, field, amount)
        return value if await self.store.update(session_id, {field: value}, False) else None


@found_by("test_counting", "test_all_64_bits")
class CountsByOne(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        return await self.store.increment(session_id, field, 1)


@found_by("test_any_text_is_a_field")
class CountsUnderATrimmedName(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        return await self.store.increment(session_id, field.strip("\0"), amount)


@found_by("test_what_is_no_integer_is_refused", "test_overflow_is_refused")
class CountsOnAnything(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        try:
            return await self.store.increment(session_id, field, amount)
        except MetadataError:
            await self.store.update(session_id, {field: amount}, False)
            return amount


@found_by("test_what_is_no_integer_is_refused")
class TouchesBeforeItCounts(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        await self.store.touch(session_id, 0)
        return await self.store.increment(session_id, field, amount)


@found_by("test_all_64_bits", "test_overflow_is_refused")
class CountsInFloats(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        record = await self.store.read(session_id)
        if record is None:
            return None
        value = int(float(record.metadata.get(field, 0)) + amount)
        await self.store.update(session_id, {field: value}, False)
        return value


@found_by("test_counting_in_no_session", "test_a_session_that_never_was", "test_nothing_survives_a_delete")
class CountsInNoSession(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        await self.store.create(session_id, None, 3600, {})
        return await self.store.increment(session_id, field, amount)


@found_by("test_counting_touches", "test_accessed_follows_the_clock")
class CountingDoesNotTouch(Broken):
    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        record = await self.store.read(session_id)
        self.shared[session_id] = record and record.accessed
        return await self.store.increment(session_id, field, amount)

    async def read(self, session_id: str) -> SessionRecord | None:
        accessed = self.shared.pop(session_id, None)
        return (
            await self.store.read(session_id) if accessed is None else await self.changed(session_id, accessed=accessed)
        )


@found_by("test_sessions_do_not_mix_with_each_other")
class MixesSessions(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        self.shared["last"] = session_id
        await asyncio.sleep(0)
        return await self.store.update(self.shared["last"], metadata, replace, **options)


@found_by(
    *("test_the_two_deadlines", "test_it_ends_when_it_is_not_touched", "test_every_touch_keeps_it"),
    *("test_another_store_keeps_it", "test_what_ended_unseen_makes_room"),
    *("test_an_id_created_anew_counts_once", "test_what_ended_unseen_makes_room_among_hundreds"),
)
class IgnoresIdle(Broken):
    async def create(self, *args: Any, idle: float = 0, **options: Any) -> Existing | None:
        return await self.store.create(*args, **options)


@found_by(
    *("test_every_touch_keeps_it", "test_another_store_keeps_it", "test_the_lifetime_ends_it_all_the_same"),
    "test_an_old_id_answers_for_all_of_its_grace_while_the_session_is_used",
)
class EndsIdleSessionsInUse(Broken):
    async def create(self, session_id: str, user_id: Any, lifetime: float, metadata: Any, **options: Any) -> Any:
        lifetime = min(lifetime, options.pop("idle", lifetime))
        return await self.store.create(session_id, user_id, lifetime, metadata, **options)


@found_by("test_the_lifetime_ends_it_all_the_same", "test_the_two_deadlines")
class KnowsTheIdleTimeOnly(Broken):
    async def create(self, session_id: str, user_id: Any, lifetime: float, metadata: Any, **options: Any) -> Any:
        lifetime = 3600 if options.get("idle") else lifetime
        return await self.store.create(session_id, user_id, lifetime, metadata, **options)


@found_by("test_a_touch_that_is_not_written_does_not_end_it", "test_a_long_interval_does_not_keep_it_long")
class EndsIdleSessionsEarly(Broken):
    async def create(self, *args: Any, idle: float = 0, **options: Any) -> Existing | None:
        return await self.store.create(*args, idle=idle * 0.9, **options)


@found_by("test_a_touch_that_is_not_written_does_not_end_it", "test_a_long_interval_keeps_what_is_used")
class EndsWhatIsTouchedSeldom(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        record = await self.store.read(session_id)
        if interval and record is not None and record.idle:
            return True
        return await self.store.touch(session_id, interval)


@found_by("test_a_long_interval_does_not_keep_it_long")
class KeepsWhatIsTouchedSeldom(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        record = await self.store.read(session_id)
        if interval < 60 or record is None or not record.idle:
            return await self.store.touch(session_id, interval)
        await self.store.delete(session_id)
        await self.store.create(session_id, record.user_id, 3600, record.metadata, idle=3600)
        return True
