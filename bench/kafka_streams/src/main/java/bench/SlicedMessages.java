package bench;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Arrays;

/**
 * By hand, as fast as it goes: of events that nobody listens to only the code is compared, texts are copied from input
 * to output as bytes, and what is the same in every output is encoded once.
 */
final class SlicedMessages implements Messages, Messages.Event {
    private static final JsonFactory JSON = new JsonFactory();
    private static final byte[] EVENT = "event".getBytes(UTF_8);
    private static final byte[] SLASH = "/".getBytes(UTF_8);

    /** What every event of our code begins with. */
    private final byte[] prefix;
    private final byte[] invocationStart;
    private final byte[] runStart;
    private final Writer writer = new Writer();
    private final ByteArrayOutputStream json = new ByteArrayOutputStream();
    private String topic;
    private byte[] topicBytes;

    // The present event: texts are ranges of data, a length of -1 is a null.
    private byte[] data;
    private int id;
    private int idLength;
    private long timeMs;
    private int payload;
    private int payloadLength;
    private int traceparent;
    private int traceparentLength;
    private int root;
    private int rootLength;
    private long depth;

    SlicedMessages(Schemas schemas) {
        prefix = writer.raw(schemas.header("event")).sized(CODE.getBytes(UTF_8)).bytes();
        invocationStart = writer.clear().raw(schemas.header("invocation"))
            .sized(TASK.getBytes(UTF_8)).sized(TRIGGER.getBytes(UTF_8)).sized(VERSION.getBytes(UTF_8)).bytes();
        runStart = writer.clear().raw(schemas.header("trigger_run"))
            .sized(TRIGGER.getBytes(UTF_8)).sized(VERSION.getBytes(UTF_8)).number(0).sized(TASK.getBytes(UTF_8))
            .bytes();
    }

    @Override
    public Event event(byte[] value) {
        if (value.length < prefix.length || !Arrays.equals(value, 0, prefix.length, prefix, 0, prefix.length)) {
            return null;
        }
        data = value;
        Reader reader = new Reader(value, prefix.length);
        reader.sized();
        id = reader.start;
        idLength = reader.length;
        timeMs = reader.number();
        reader.optional(); // key
        reader.sized();
        payload = reader.start;
        payloadLength = reader.length;
        reader.optional(); // source
        reader.optional();
        traceparent = reader.start;
        traceparentLength = reader.length;
        reader.optional();
        boolean isRoot = reader.length < 0;
        root = isRoot ? id : reader.start;
        rootLength = isRoot ? idLength : reader.length;
        depth = reader.number();
        return this;
    }

    @Override
    public byte[] id() {
        return Arrays.copyOfRange(data, id, id + idLength);
    }

    @Override
    public byte[] invocation(byte[] runId) {
        byte[] arguments = arguments();
        return writer.clear().raw(invocationStart)
            .sized(runId).sized(runId)
            .number(timeMs)
            .number(0) // no key
            .sized(arguments)
            .number(1).number(EVENT.length + 1 + idLength).raw(EVENT).raw(SLASH).raw(data, id, idLength).number(0)
            .optional(data, traceparent, traceparentLength)
            .optional(data, root, rootLength)
            .number(depth + 1)
            .number(0) // it does not expire
            .bytes();
    }

    @Override
    public byte[] run(byte[] runId, String topic, int partition, long offset) {
        if (!topic.equals(this.topic)) {
            this.topic = topic;
            topicBytes = topic.getBytes(UTF_8);
        }
        return writer.clear().raw(runStart)
            .sized(runId).sized(runId)
            .number(timeMs)
            .number(0) // no key
            .number(1)
            .sized(LEAF.getBytes(UTF_8)).sized(EVENT).sized(data, id, idLength)
            .sized(topicBytes).number(partition).number(offset).number(timeMs)
            .number(0)
            .optional(data, root, rootLength)
            .number(depth + 1)
            .bytes();
    }

    /** {"order": what the payload has there}. */
    private byte[] arguments() {
        json.reset();
        try (JsonParser parser = JSON.createParser(data, payload, payloadLength);
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
}
