import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.Reader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.kafka.connect.runtime.WorkerConfig;
import org.apache.kafka.connect.storage.MemoryOffsetBackingStore;

/**
 * Runs the Debezium engine with a consumer that counts rows and does nothing else.
 *
 * <p>Arguments: a properties file for the engine, the topic of the measured table, the rows to let pass before the clock
 * starts, the rows to time. Prints one line of JSON when the last row was delivered, then keeps the process alive until its
 * standard input closes, so that its memory can still be read.
 */
public final class DebeziumPeer {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(args[0]))) {
            settings.load(reader);
        }
        RowCounter counter = new RowCounter(args[1], Long.parseLong(args[2]), Long.parseLong(args[3]));
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(settings)
                .using((success, message, error) -> {
                    if (!success) {
                        System.err.println("engine failed: " + message + " " + error);
                        System.exit(1);
                    }
                })
                .notifying(counter)
                .build();
        ExecutorService executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        while (System.in.read() >= 0) {
            // Wait for the end of standard input.
        }
        engine.close();
        executor.shutdown();
    }

    /** Offsets in memory that begin with one: {@code given.key} and {@code given.value} of the settings, as JSON. */
    public static final class GivenOffset extends MemoryOffsetBackingStore {
        @Override
        public void configure(WorkerConfig config) {
            super.configure(config);
            Map<String, String> settings = config.originalsStrings();
            data.put(bytes(settings.get("given.key")), bytes(settings.get("given.value")));
        }

        @Override
        public Set<Map<String, Object>> connectorPartitions(String connector) {
            return Set.of();
        }

        private static ByteBuffer bytes(String text) {
            return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
        }
    }

    private static final class RowCounter implements DebeziumEngine.ChangeConsumer<ChangeEvent<String, String>> {
        private final String topic;
        private final long warmup;
        private final long last;
        private long rows;
        private long others;
        private long bytes;
        private long startedNs;

        RowCounter(String topic, long warmup, long timed) {
            this.topic = topic;
            this.warmup = warmup;
            this.last = warmup + timed;
        }

        @Override
        public void handleBatch(
                List<ChangeEvent<String, String>> events,
                DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
                throws InterruptedException {
            for (ChangeEvent<String, String> event : events) {
                if (topic.equals(event.destination()) && event.value() != null) {
                    count(event.value());
                } else {
                    others++;
                }
                committer.markProcessed(event);
            }
            committer.markBatchFinished();
        }

        private void count(String value) {
            rows++;
            bytes += value.length();
            if (rows == warmup + 1) {
                startedNs = System.nanoTime();
            }
            if (rows == last) {
                double seconds = (System.nanoTime() - startedNs) / 1e9;
                System.out.printf(
                        java.util.Locale.ROOT,
                        "{\"rows\":%d,\"seconds\":%.6f,\"other_events\":%d,\"characters_per_row\":%d}%n",
                        rows - warmup, seconds, others, bytes / rows);
                System.out.flush();
            }
        }
    }
}
