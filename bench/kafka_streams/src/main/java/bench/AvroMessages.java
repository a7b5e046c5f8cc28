package bench;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.BinaryMessageEncoder;

/** With the Avro and Jackson libraries, as most programs do it: every event becomes a record, every output is built. */
final class AvroMessages implements Messages {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final BinaryMessageDecoder<GenericRecord> events;
    private final Schema invocation;
    private final Schema run;
    private final Schema participant;
    private final BinaryMessageEncoder<GenericRecord> invocations;
    private final BinaryMessageEncoder<GenericRecord> runs;

    AvroMessages(Schemas schemas) {
        GenericData model = new GenericData(); // without conversions: an instant is a number
        GenericData.setStringType(schemas.get("event"), GenericData.StringType.String);
        events = new BinaryMessageDecoder<>(model, schemas.get("event"));
        invocation = schemas.get("invocation");
        run = schemas.get("trigger_run");
        participant = run.getField("participants").schema().getElementType();
        invocations = new BinaryMessageEncoder<>(model, invocation);
        runs = new BinaryMessageEncoder<>(model, run);
    }

    @Override
    public Event event(byte[] value) {
        try {
            GenericRecord event = events.decode(value);
            return CODE.contentEquals((CharSequence) event.get("code")) ? new Decoded(event) : null;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private final class Decoded implements Event {
        private final GenericRecord event;
        private final String id;
        private final Object root;

        Decoded(GenericRecord event) {
            this.event = event;
            id = event.get("id").toString();
            root = event.get("root") == null ? id : event.get("root");
        }

        @Override
        public byte[] id() {
            return id.getBytes(UTF_8);
        }

        @Override
        public byte[] invocation(byte[] runId) {
            String name = new String(runId, UTF_8);
            return encoded(invocations, new GenericRecordBuilder(invocation)
                .set("task", TASK)
                .set("trigger_id", TRIGGER)
                .set("trigger_version", VERSION)
                .set("id", name)
                .set("run_id", name)
                .set("time_ms", event.get("time_ms"))
                .set("key", null)
                .set("arguments", ByteBuffer.wrap(arguments()))
                .set("causes", List.of("event/" + id))
                .set("traceparent", event.get("traceparent"))
                .set("root", root)
                .set("depth", depth())
                .build());
        }

        @Override
        public byte[] run(byte[] runId, String topic, int partition, long offset) {
            String name = new String(runId, UTF_8);
            GenericRecord cause = new GenericRecordBuilder(participant)
                .set("leaf", LEAF)
                .set("kind", "event")
                .set("id", id)
                .set("topic", topic)
                .set("partition", partition)
                .set("offset", offset)
                .set("time_ms", event.get("time_ms"))
                .build();
            return encoded(runs, new GenericRecordBuilder(run)
                .set("trigger_id", TRIGGER)
                .set("trigger_version", VERSION)
                .set("epoch", 0)
                .set("task", TASK)
                .set("run_id", name)
                .set("invocation_id", name)
                .set("time_ms", event.get("time_ms"))
                .set("key", null)
                .set("participants", List.of(cause))
                .set("root", root)
                .set("depth", depth())
                .build());
        }

        private int depth() {
            return (Integer) event.get("depth") + 1;
        }

        private byte[] arguments() {
            ByteBuffer payload = (ByteBuffer) event.get("payload");
            try {
                JsonNode order = JSON.readTree(payload.array(), payload.arrayOffset(), payload.remaining()).get("order");
                return JSON.writeValueAsBytes(JSON.createObjectNode().set("order", order));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private byte[] encoded(BinaryMessageEncoder<GenericRecord> encoder, GenericRecord record) {
            try {
                ByteBuffer bytes = encoder.encode(record);
                byte[] copied = new byte[bytes.remaining()];
                bytes.get(copied);
                return copied;
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
