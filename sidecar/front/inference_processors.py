"""``inference`` processors of ingest pipelines, as a cluster can run them that has no such processor, or no licence.

Each becomes a ``script`` processor under the same conditions, which looks the results for its texts up in what the
document carries (:data:`CARRIER`) and writes them as ``inference`` does. So everything else about a pipeline stays the
cluster's: order, ``if``, ``on_failure``, ``ignore_failure``, pipelines that call pipelines, ``drop``. A text that the
pipeline makes in the end and nobody embedded is an error, never another text's vector.
The definition as it was put lies in the pipeline's ``_meta``. Source: Elasticsearch reference, "Inference processor".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sidecar.core.errors import ParseError

CARRIER = "_sidecar_inference"
WANTS = "sidecar wants"
SEPARATOR = "\0"
_META, _DEFINITION = "sidecar", "definition"
_COMMON = ("description", "if", "ignore_failure", "on_failure", "tag")
_OWN = ("model_id", "input_output", "ignore_missing", "inference_config", "target_field", "field_map", "field_mappings")
_RESULTS_FIELD = "predicted_value"

SCRIPT = """
/* inference of the sidecar */
def find(def at, String path) {
  for (String name : path.splitOnToken('.')) {
    if (!(at instanceof Map)) { return null; }
    at = ((Map) at).get(name);
  }
  return at;
}
void put(Map place, String path, def value) {
  String[] names = path.splitOnToken('.');
  Map at = place;
  for (int i = 0; i < names.length - 1; i++) {
    def next = at.get(names[i]);
    if (!(next instanceof Map)) { next = new HashMap(); at.put(names[i], next); }
    at = (Map) next;
  }
  String leaf = names[names.length - 1];
  def held = at.get(leaf);
  if (held == null) { at.put(leaf, value); return; }
  List all = new ArrayList();
  if (held instanceof List) { all.addAll((List) held); } else { all.add(held); }
  if (value instanceof List) { all.addAll((List) value); } else { all.add(value); }
  at.put(leaf, all);
}
if (params.refusal != null) { throw new IllegalArgumentException(params.refusal); }
List texts = new ArrayList();
boolean any = false;
for (def field : params.fields) {
  def value = find(ctx, field.input);
  if (value == null) {
    if (!params.ignore_missing) {
      String name = '[' + field.input + ']';
      throw new IllegalArgumentException('field ' + name + ' not present as part of path ' + name);
    }
    texts.add('');
  } else if (!(value instanceof String)) {
    String name = '[' + field.input + ']';
    throw new IllegalArgumentException('field ' + name + ' cannot be processed because it is not a text field');
  } else {
    any = true;
    texts.add(value);
  }
  if (params.ignore_missing && !any) { return; }
}
def carrier = ctx['_sidecar_inference'];
if (carrier == null) {
  String name = '[' + params.model + ']';
  String why = ': documents come to this pipeline through the sidecar, and no step may drop [_sidecar_inference]';
  throw new IllegalStateException('no results of ' + name + why);
}
carrier.ran = carrier.ran + 1;
def made = carrier.made.get(params.model);
String missing = '';
for (def text : texts) {
  if (made == null || !made.containsKey(text)) { missing = missing + params.separator + text; }
}
if (missing.length() > 0) {
  String wants = 'sidecar wants' + params.separator + params.model + missing;
  if (!carrier.probing) { throw new IllegalStateException('the pipeline made a text that it did not make before'); }
  carrier.wanted.add(wants);
  throw new IllegalStateException(wants);
}
if (!carrier.probing && carrier.ran >= carrier.uses) { ctx.remove('_sidecar_inference'); }
for (def text : texts) {
  def result = made.get(text);
  if (result.error != null) { throw new IllegalStateException(result.error); }
}
for (int i = 0; i < texts.size(); i++) {
  def result = made.get(texts.get(i));
  String output = params.fields.get(i).output;
  put(ctx, output, result.value);
  int dot = output.lastIndexOf('.');
  String parent = dot < 0 ? '' : output.substring(0, dot + 1);
  if (i == 0) { put(ctx, parent + 'model_id', params.model); }
  if (result.truncated == true) { put(ctx, parent + 'is_truncated', true); }
}
"""


def inference_models(definition: Mapping[str, Any]) -> Iterator[str]:
    """The ``model_id`` of every ``inference`` processor of a pipeline, wherever it stands."""
    for kind, settings in _processors(definition):
        if kind == "inference" and isinstance(settings.get("model_id"), str):
            yield settings["model_id"]


def is_stand_in(definition: Mapping[str, Any]) -> bool:
    """Whether a pipeline of the cluster stands for one with ``inference`` processors."""
    return original(definition) is not None


def original(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The pipeline as it was put; ``None`` where the cluster's own is that."""
    meta = definition.get("_meta")
    kept = meta.get(_META) if isinstance(meta, dict) else None
    found = kept.get(_DEFINITION) if isinstance(kept, dict) else None
    return found if isinstance(found, dict) else None


def called_pipelines(definition: Mapping[str, Any]) -> Iterator[str]:
    """The names of the pipelines that a pipeline calls; templates as they are written."""
    for kind, settings in _processors(definition):
        if kind == "pipeline" and isinstance(settings.get("name"), str):
            yield settings["name"]


def stand_in(definition: Mapping[str, Any], is_ours: Callable[[str], bool]) -> dict[str, Any]:
    """The pipeline that the cluster is to run.

    Raises:
        ParseError: an ``inference`` processor of ours is not written as Elasticsearch wants it.
    """
    replaced = _replaced(dict(definition), is_ours)
    meta = dict(definition.get("_meta") or {})
    meta[_META] = {**(meta.get(_META) or {}), _DEFINITION: dict(definition)}
    replaced["_meta"] = meta
    return replaced


def _processors(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(value, Mapping):
        return
    for name in ("processors", "on_failure"):
        for entry in value.get(name) or () if isinstance(value.get(name), list) else ():
            yield from _entry(entry)
    if "processor" in value:
        yield from _entry(value["processor"])


def _entry(entry: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(entry, Mapping):
        for kind, settings in entry.items():
            if isinstance(settings, Mapping):
                yield kind, settings
                yield from _processors(settings)


def _replaced(value: dict[str, Any], is_ours: Callable[[str], bool]) -> dict[str, Any]:
    result = dict(value)
    for name in ("processors", "on_failure"):
        if isinstance(value.get(name), list):
            result[name] = [_replaced_entry(entry, is_ours) for entry in value[name]]
    if isinstance(value.get("processor"), dict):
        try:
            result["processor"] = _replaced_entry(value["processor"], is_ours)
        except ParseError as error:
            error.metadata["processor_type"] = "foreach"  # of what it holds a cluster names the tag alone
            raise
    return result


def _replaced_entry(entry: Any, is_ours: Callable[[str], bool]) -> Any:
    if not isinstance(entry, dict):
        return entry
    result: dict[str, Any] = {}
    for kind, settings in entry.items():
        if not isinstance(settings, dict):
            result[kind] = settings
            continue
        inner = _replaced(settings, is_ours)
        if kind == "remove" and "keep" in settings:
            kept = settings["keep"]
            inner["keep"] = [*(kept if isinstance(kept, list) else [kept]), CARRIER]
        if kind == "inference" and isinstance(settings.get("model_id"), str) and is_ours(settings["model_id"]):
            common = {name: inner[name] for name in _COMMON if name in inner}
            result["script"] = {**common, "lang": "painless", "source": SCRIPT, "params": _parameters(settings)}
        else:
            result[kind] = inner
    return result


def _parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    model = settings["model_id"]
    if "input_output" in settings:
        if "target_field" in settings:
            what = "option is incompatible with [input_output]. Use the [output_field] option to specify where to write"
            raise _wrong(settings, f"{what} the inference results to.", "target_field")
        given = settings["input_output"]
        entries = given if isinstance(given, list) else [given]
        fields = [_input_output(settings, entry) for entry in entries]
        if not fields:
            raise _wrong(settings, "property cannot be empty at least one is required", "input_output")
        _refuse_others(settings, {"field_map", "field_mappings"})
        ignore_missing = settings.get("ignore_missing") in (True, "true")
        return {"model": model, "fields": fields, "ignore_missing": ignore_missing, "separator": SEPARATOR}
    _refuse_others(settings, set())
    inputs = settings.get("field_map")
    config = settings.get("inference_config")
    if not isinstance(inputs, dict) or not inputs or not isinstance(config, dict) or not config:
        refusal = f"[{model}] is configured for the _inference API and does not accept documents as input"
        return {"model": model, "fields": [], "ignore_missing": False, "refusal": refusal}
    task = next(iter(config.values()))
    results_field = task.get("results_field", _RESULTS_FIELD) if isinstance(task, dict) else _RESULTS_FIELD
    tag = settings.get("tag")
    target = settings.get("target_field") or (f"ml.inference.{tag}" if tag else "ml.inference")
    fields = [{"input": next(iter(inputs)), "output": f"{target}.{results_field}"}]
    return {"model": model, "fields": fields, "ignore_missing": True, "separator": SEPARATOR}


def _refuse_others(settings: Mapping[str, Any], unread: set[str]) -> None:
    others = sorted(set(settings) - set(_COMMON) - set(_OWN) | set(settings) & unread)
    if others:
        what = "processor [inference] doesn't support one or more provided configuration parameters"
        raise _wrong(settings, f"{what} [{', '.join(others)}]")


def _input_output(settings: Mapping[str, Any], entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise _wrong(settings, "property isn't a list of maps", "input_output")
    for name in ("input_field", "output_field"):
        if not isinstance(entry.get(name), str):
            raise _wrong(settings, "required property is missing", name)
    return {"input": entry["input_field"], "output": entry["output_field"]}


def _wrong(settings: Mapping[str, Any], text: str, option: str | None = None) -> ParseError:
    named = {"property_name": option, "processor_type": "inference", "processor_tag": settings.get("tag")}
    reason = text if option is None else f"[{option}] {text}"
    return ParseError(reason, metadata={name: value for name, value in named.items() if value is not None})
