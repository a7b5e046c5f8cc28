package bench;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.commons.codec.digest.MurmurHash3;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** One trigger: every event of its code whose run id is not taken makes an invocation and a run record. */
final class Route implements Processor<byte[], byte[], byte[], byte[]> {
    static final String CLAIMS = "claims";
    static final String INVOCATIONS = "invocations";
    static final String RUNS = "runs";
    private static final byte[] TAKEN = new byte[0];
    private static final byte[] IDENTITY = (Messages.TRIGGER + "/event/").getBytes(UTF_8);
    private static final byte[] HEX = "0123456789abcdef".getBytes(UTF_8);

    private final Messages messages;
    private final Meter meter;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> claims;

    Route(Messages messages, Meter meter) {
        this.messages = messages;
        this.meter = meter;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        claims = context.getStateStore(CLAIMS);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        meter.begin();
        Messages.Event event = messages.event(record.value());
        if (event != null) {
            fire(record, event);
        }
        if (meter.count()) {
            context.commit();
        }
    }

    private void fire(Record<byte[], byte[]> record, Messages.Event event) {
        byte[] claim = runId(event.id());
        if (claims.putIfAbsent(claim, TAKEN) != null) {
            return;
        }
        RecordMetadata source = context.recordMetadata().orElseThrow();
        byte[] runId = hexadecimal(claim);
        byte[] invocation = event.invocation(runId);
        byte[] run = event.run(runId, source.topic(), source.partition(), source.offset());
        context.forward(record.withKey(runId).withValue(invocation), INVOCATIONS);
        context.forward(record.withKey(runId).withValue(run), RUNS);
        meter.fired();
    }

    private static byte[] runId(byte[] eventId) {
        byte[] hashed = Arrays.copyOf(IDENTITY, IDENTITY.length + eventId.length);
        System.arraycopy(eventId, 0, hashed, IDENTITY.length, eventId.length);
        long[] hash = MurmurHash3.hash128x64(hashed);
        return ByteBuffer.allocate(16).putLong(hash[0]).putLong(hash[1]).array();
    }

    private static byte[] hexadecimal(byte[] raw) {
        byte[] text = new byte[2 * raw.length];
        for (int at = 0; at < raw.length; at++) {
            text[2 * at] = HEX[raw[at] >> 4 & 15];
            text[2 * at + 1] = HEX[raw[at] & 15];
        }
        return text;
    }
}
