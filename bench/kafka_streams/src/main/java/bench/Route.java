package bench;

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
    private static final byte[] IDENTITY = Messages.bytes(Messages.TRIGGER + "/event/");

    private final Messages messages;
    private final Meter meter;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> claims;
    private byte[] topic;
    private byte[] hashed = Arrays.copyOf(IDENTITY, 128);

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
        byte[] value = record.value();
        byte[] prefix = messages.prefix;
        if (value.length >= prefix.length
                && Arrays.equals(value, 0, prefix.length, prefix, 0, prefix.length)) {
            fire(record, messages.event(value));
        }
        if (meter.count()) {
            context.commit();
        }
    }

    private void fire(Record<byte[], byte[]> record, Messages.Event event) {
        byte[] claim = runId(event);
        if (claims.putIfAbsent(claim, TAKEN) != null) {
            return;
        }
        RecordMetadata source = context.recordMetadata().orElseThrow();
        if (topic == null) {
            topic = Messages.bytes(source.topic());
        }
        byte[] runId = Messages.hexadecimal(claim);
        byte[] invocation = messages.invocation(event, runId, messages.arguments(event));
        byte[] run = messages.run(event, runId, topic, source.partition(), source.offset());
        context.forward(record.withKey(runId).withValue(invocation), INVOCATIONS);
        context.forward(record.withKey(runId).withValue(run), RUNS);
        meter.fired();
    }

    private byte[] runId(Messages.Event event) {
        int length = IDENTITY.length + event.idLength;
        if (length > hashed.length) {
            hashed = Arrays.copyOf(hashed, 2 * length);
        }
        System.arraycopy(event.data, event.id, hashed, IDENTITY.length, event.idLength);
        long[] hash = MurmurHash3.hash128x64(hashed, 0, length, 0);
        return ByteBuffer.allocate(16).putLong(hash[0]).putLong(hash[1]).array();
    }
}
