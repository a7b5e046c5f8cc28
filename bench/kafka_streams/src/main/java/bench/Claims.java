package bench;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.Options;

/** The claims' store is asked for keys that are nearly always absent: filters answer that in the write buffer too. */
public final class Claims implements RocksDBConfigSetter {
    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
        options.setMemtableWholeKeyFiltering(true);
        options.setMemtablePrefixBloomSizeRatio(0.05);
    }

    @Override
    public void close(String store, Options options) {
        // Nothing was made that has to be released.
    }
}
