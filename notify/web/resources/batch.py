"""Many updates of one app in one request, for servers: a key is always needed.

The body is `{"updates": [item, ...]}`, at most NOTIFY_BATCH_UPDATES items and NOTIFY_BATCH_BYTES
bytes. An item is an object with

* `record`: the record's id; or `kind` and `identifier`, from which the id follows as in POST
  /players. With both, `kind` and `identifier` are set on that record;
* `op`: "update" (the default), "delete" the record, or "detach" all its children. The latter two
  have nothing else but the record;
* `tags`, `properties`: objects of name to value; null and "" remove the name. Tags that are removed
  do not count against the limit of an update;
* `counters`: object of session_count, session_time_s, purchase_count, spent_micros to the integer
  to add;
* `links`: object of label (email, sms, user) to the parent record's id, or null to unlink;
* `message_id`: optional; else it follows from the Idempotency-Key and the item's place.

The answer is 202 `{"accepted": n, "rejected": m, "results": [...]}` with one result an item, in
order: `{"id": record}` or `{"errors": [...]}`. A bad item fails alone. Good items are in Kafka, in
order, when the answer comes, or it is a 503 and some may be: send the request again. If no item is
good the answer is 400 with the results. Unknown keys are an item's error: unlike an SDK's, they
are mistakes that somebody can still correct.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse

from notify.domain.errors import Malformed
from notify.domain.records import ids, nobody
from notify.domain.records.patch import IDENTIFIER
from notify.domain.records.update import KINDS, OPS, UPDATE, Update
from notify.web.access.auth import KeyNeeded
from notify.web.http.answer_bodies import BatchAnswer, BatchResult
from notify.web.http.answers import Refused, ok
from notify.web.http.endpoint import Call
from notify.web.resources import answer_warnings, device
from notify.web.resources.draft import Draft, encoded, update_of, updates_of
from notify.web.sending import send

#: The fields of an item: of every one, and of one that is an update.
SUBJECT: Final = frozenset(("op", "record", "kind", "identifier", "message_id"))
CHANGES: Final = frozenset(("tags", "properties", "counters", "links"))


def accept(call: Call, app_id: str) -> HttpResponse:
    """POST /apps/{app}/batch. The key is checked before the body is read."""
    app = call.app(app_id, key=KeyNeeded.ALWAYS)
    body = call.body(bytes_max=settings.NOTIFY_BATCH_BYTES)
    items = _items(body)
    at = call.services.now_ms()
    made: list[tuple[Update, bytes]] = []
    results: list[BatchResult] = []
    accepted = 0
    for place, item in enumerate(items):
        try:
            found = _updates(item, app.id, at=at, message_id=call.message_id(place))
            made += [(update, encoded(update)) for update in found]
        except (Malformed, Refused) as error:
            results.append(BatchResult(errors=[str(error)]))
        else:
            accepted += 1
            results.append(BatchResult(found[0].record))
    if not made:
        raise Refused(
            400, "no item is valid: results says why, item by item", details={"results": results}
        )
    updates = [update for update, _ in made]
    call.services.limits.updates(app, [update.record for update in updates])
    send(call, app, made)
    warnings = answer_warnings.of_updates(call.services.apps.known(), updates)
    answer = BatchAnswer(
        accepted=accepted, rejected=len(items) - accepted, results=results, **warnings
    )
    return ok(answer, status=202)


def _items(body: Mapping[str, Any]) -> list[Any]:
    for key in body:
        if key != "updates":
            raise Malformed(f"{key!r:.50} is not a field of a batch: its only field is updates")
    items = body.get("updates")
    if not isinstance(items, list) or not items:
        raise Malformed("updates must be a list of at least one object")
    if len(items) > settings.NOTIFY_BATCH_UPDATES:
        raise Refused(413, f"a batch has at most {settings.NOTIFY_BATCH_UPDATES} updates")
    return items


def _updates(item: object, app: str, *, at: int, message_id: str | None) -> list[Update]:
    """One update, and more for tags that it removes and that find no place in it. Raises Malformed."""
    if not isinstance(item, Mapping):
        raise Malformed("an item must be an object")
    op = item.get("op", UPDATE)
    if op not in OPS:
        raise Malformed(f"op must be one of {', '.join(OPS)}")
    allowed = SUBJECT | CHANGES if op == UPDATE else SUBJECT
    for key in item:
        if key not in allowed:
            raise Malformed(f"{key!r:.50} is not a field of an item whose op is {op}")
    kind, identifier = _described(item, op)
    record = _record(item, app, kind, identifier)
    if op != UPDATE:
        id_ = _message_id(item, message_id)
        return [update_of(app, record, at=at, message_id=id_, op=op)]
    return updates_of(
        app,
        record,
        at=at,
        message_id=_message_id(item, message_id),
        kind=kind,
        draft=_draft(item, identifier),
        links=_links(item),
    )


def _message_id(item: Mapping[str, Any], otherwise: str | None) -> Any:
    """What the item says, `check`ed later; what follows from the request where it says nothing."""
    given = item.get("message_id")
    if given is None:
        return otherwise
    if not given:
        raise Malformed("message_id must not be empty: leave it out, and the server chooses one")
    return given


def _described(item: Mapping[str, Any], op: str) -> tuple[str | None, str | None]:
    kind = item.get("kind")
    if kind is not None and kind not in KINDS:
        raise Malformed(f"kind must be one of {', '.join(KINDS)}")
    identifier = device.stored_identifier(item, kind)
    if op == UPDATE and identifier and nobody.is_nobody(identifier):
        raise Malformed(f'identifier: "{identifier:.50}" stands for a missing value')
    return kind, identifier


def _record(item: Mapping[str, Any], app: str, kind: str | None, identifier: str | None) -> str:
    if "record" in item:
        return device.player_id(item["record"], "record")
    if kind is None or not identifier:
        raise Malformed("an item must name its record: by record, or by kind and identifier")
    return ids.record_id(app, kind, identifier)


def _draft(item: Mapping[str, Any], identifier: str | None) -> Draft:
    draft = Draft()
    draft.put_tags(item.get("tags"))
    draft.put_properties(item.get("properties"))
    counters = item.get("counters", {})
    if not isinstance(counters, Mapping):
        raise Malformed("counters must be an object")
    for name, n in counters.items():
        draft.add(name, n)
    if identifier is not None:
        draft.put(IDENTIFIER, identifier)
    return draft


def _links(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    links = item.get("links")
    if links is not None and not isinstance(links, Mapping):
        raise Malformed("links must be an object")
    return links
