package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HexFormat;

/**
 * The messages of the engine, read and written as it does: only the event code is looked at of events that nobody
 * listens to, and the fields that are the same in every output are encoded once.
 */
final class Messages {
    static final String CODE = "order.paid";
    static final String TRIGGER = "trigger-0";
    private static final String VERSION = "0123456789abcdef";
    private static final String TASK = "ship";
    private static final JsonFactory JSON = new JsonFactory();
    private static final byte[] HEX = bytes("0123456789abcdef");
    private static final byte[] EVENT = bytes("event");
    private static final byte[] LEAF = bytes("when");
    private static final byte[] SLASH = bytes("/");

    /** What every event of our code begins with. */
    final byte[] prefix;
    private final byte[] invocationStart;
    private final byte[] runStart;
    private final Writer writer = new Writer();
    private final ByteArrayOutputStream json = new ByteArrayOutputStream();

    /** The headers are those of single-object encoding, in hexadecimal. */
    Messages(String eventHeader, String invocationHeader, String runHeader) {
        prefix = writer.raw(hex(eventHeader)).sized(bytes(CODE)).bytes();
        invocationStart = writer.clear().raw(hex(invocationHeader))
            .sized(bytes(TASK)).sized(bytes(TRIGGER)).sized(bytes(VERSION)).bytes();
        runStart = writer.clear().raw(hex(runHeader))
            .sized(bytes(TRIGGER)).sized(bytes(VERSION)).number(0).sized(bytes(TASK)).bytes();
    }

    /** The fields of one event after its code; texts are ranges of {@code data}. */
    static final class Event {
        byte[] data;
        int id, idLength;
        long timeMs;
        int payload, payloadLength;
        int traceparent, traceparentLength;
        int root, rootLength;
        long depth;
    }

    Event event(byte[] data) {
        Reader reader = new Reader(data, prefix.length);
        Event event = new Event();
        event.data = data;
        reader.sized();
        event.id = reader.start;
        event.idLength = reader.length;
        event.timeMs = reader.number();
        reader.optional(); // key
        reader.sized();
        event.payload = reader.start;
        event.payloadLength = reader.length;
        reader.optional(); // source
        reader.optional();
        event.traceparent = reader.start;
        event.traceparentLength = reader.length;
        reader.optional();
        event.root = reader.start;
        event.rootLength = reader.length;
        event.depth = reader.number();
        return event;
    }

    /** {"order": what the payload has there}. */
    byte[] arguments(Event event) {
        json.reset();
        try (JsonParser parser = JSON.createParser(event.data, event.payload, event.payloadLength);
                JsonGenerator generator = JSON.createGenerator(json)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                boolean wanted = parser.currentName().equals("order");
                parser.nextToken();
                if (wanted) {
                    generator.writeStartObject();
                    generator.writeFieldName("order");
                    generator.copyCurrentStructure(parser);
                    generator.writeEndObject();
                } else {
                    parser.skipChildren();
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return json.toByteArray();
    }

    byte[] invocation(Event event, byte[] runId, byte[] arguments) {
        boolean isRoot = event.rootLength < 0;
        return writer.clear().raw(invocationStart)
            .sized(runId).sized(runId)
            .number(event.timeMs)
            .number(0) // no key
            .sized(arguments)
            .number(1).number(EVENT.length + 1 + event.idLength)
            .raw(EVENT).raw(SLASH).raw(event.data, event.id, event.idLength).number(0)
            .optional(event.data, event.traceparent, event.traceparentLength)
            .optional(event.data, isRoot ? event.id : event.root, isRoot ? event.idLength : event.rootLength)
            .number(event.depth + 1)
            .bytes();
    }

    byte[] run(Event event, byte[] runId, byte[] topic, int partition, long offset) {
        boolean isRoot = event.rootLength < 0;
        return writer.clear().raw(runStart)
            .sized(runId).sized(runId)
            .number(event.timeMs)
            .number(0) // no key
            .number(1)
            .sized(LEAF).sized(EVENT).sized(event.data, event.id, event.idLength)
            .sized(topic).number(partition).number(offset).number(event.timeMs)
            .number(0)
            .optional(event.data, isRoot ? event.id : event.root, isRoot ? event.idLength : event.rootLength)
            .number(event.depth + 1)
            .bytes();
    }

    static byte[] hexadecimal(byte[] raw) {
        byte[] text = new byte[2 * raw.length];
        for (int at = 0; at < raw.length; at++) {
            text[2 * at] = HEX[raw[at] >> 4 & 15];
            text[2 * at + 1] = HEX[raw[at] & 15];
        }
        return text;
    }

    static byte[] bytes(String text) {
        return text.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    private static byte[] hex(String text) {
        return HexFormat.of().parseHex(text);
    }
}
