package bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;

/** The schemas of the engine, from its repository. */
final class Schemas {
    private final Map<String, Schema> schemas = new HashMap<>();

    Schemas(Path directory) throws IOException {
        for (String name : new String[] {"event", "invocation", "trigger_run"}) {
            schemas.put(name, new Schema.Parser().parse(directory.resolve(name + ".avsc").toFile()));
        }
    }

    Schema get(String name) {
        return schemas.get(name);
    }

    /** What a message begins with in single-object encoding. */
    byte[] header(String name) {
        return ByteBuffer.allocate(10).order(ByteOrder.LITTLE_ENDIAN)
            .put((byte) 0xc3).put((byte) 0x01)
            .putLong(SchemaNormalization.parsingFingerprint64(get(name)))
            .array();
    }
}
