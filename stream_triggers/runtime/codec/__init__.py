"""Messages as bytes: Avro's single-object encoding of every record in ``schemas/``, and back.

    bytes = c3 01 | fingerprint of the schema, 8 bytes | the record in Avro's binary encoding

``schemas`` finds and names the schema files, ``shape`` says how their records correspond to the values of ``core``.
``general`` is the codec that knows everything and needs time; ``hot`` is the same, generated and fast, and hands over
to it what is unusual. ``decoder``, ``encoder`` and ``template`` write the code that ``hot`` runs. What a worker does
with a message: ``prefix`` cuts out who could listen to it, ``arrival_decoder`` decodes what is behind that, and
``firing_encoder`` writes what comes of it.

Rules:
1. Nothing but ``InvalidMessage`` comes of wrong bytes, and nothing wrong is written.
2. Everything is derived from the schema files. They, and what ``shape`` adds to them, are the only contract.
3. No registry: the fingerprint names the schema, and every released one is shipped.
"""

from stream_triggers.runtime.codec.hot import (
    Arrival,
    EncodeFiring,
    arrival_decoder,
    decode,
    decode_event,
    decode_result,
    decode_status,
    encode,
    encode_event,
    encode_result,
    encode_status,
    event_prefixes,
    firing_encoder,
    parse_prefix,
    result_prefixes,
    status_prefixes,
)

__all__ = [
    "Arrival",
    "EncodeFiring",
    "arrival_decoder",
    "decode",
    "decode_event",
    "decode_result",
    "decode_status",
    "encode",
    "encode_event",
    "encode_result",
    "encode_status",
    "event_prefixes",
    "firing_encoder",
    "parse_prefix",
    "result_prefixes",
    "status_prefixes",
]
