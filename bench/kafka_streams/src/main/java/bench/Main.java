package bench;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The benchmark's work as a Kafka Streams program. With --messages N it stops after them and prints a measurement as
 * JSON; with 0 it works until standard input ends. --style tuned is what can be had with care; --style plain is what
 * the documentation teaches: default settings, the Avro and Jackson libraries.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = options(arguments);
        Meter meter = new Meter(Long.parseLong(options.get("messages")));
        KafkaStreams streams = new KafkaStreams(topology(options, meter), settings(options));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        if (options.get("messages").equals("0")) {
            while (System.in.read() >= 0) {
                // Whatever is written there is ignored.
            }
        } else {
            meter.await();
            System.out.println(meter.result());
        }
        streams.close(Duration.ofSeconds(30));
    }

    private static Topology topology(Map<String, String> options, Meter meter) throws IOException {
        Schemas schemas = new Schemas(Path.of(options.get("schemas")));
        Topology topology = new Topology();
        topology.addSource("events", new ByteArrayDeserializer(), new ByteArrayDeserializer(), options.get("events"));
        topology.addProcessor("route", () -> new Route(messages(options, schemas), meter), "events");
        StoreBuilder<KeyValueStore<byte[], byte[]>> claims = Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore(Route.CLAIMS), Serdes.ByteArray(), Serdes.ByteArray());
        // Every claim is written once: a cache would only hold it for a while.
        topology.addStateStore(isTuned(options) ? claims.withCachingDisabled() : claims.withCachingEnabled(), "route");
        for (String sink : new String[] {Route.INVOCATIONS, Route.RUNS}) {
            topology.addSink(sink, options.get(sink), new ByteArraySerializer(), new ByteArraySerializer(), "route");
        }
        return topology;
    }

    /** One for each task, since it holds the event that is being processed. */
    private static Messages messages(Map<String, String> options, Schemas schemas) {
        return isTuned(options) ? new SlicedMessages(schemas) : new AvroMessages(schemas);
    }

    private static boolean isTuned(Map<String, String> options) {
        return options.get("style").equals("tuned");
    }

    private static Properties settings(Map<String, String> options) {
        int commitMs = Integer.parseInt(options.get("commit-ms"));
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("application"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.get("threads"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitMs);
        // A thread that waits for input looks at the time to commit only afterwards.
        settings.put(StreamsConfig.POLL_MS_CONFIG, Math.min(100, commitMs));
        if (isTuned(options)) {
            settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
            settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Claims.class);
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        }
        return settings;
    }

    private static Map<String, String> options(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at < arguments.length; at += 2) {
            options.put(arguments[at].substring(2), arguments[at + 1]);
        }
        return options;
    }
}
