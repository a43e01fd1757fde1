import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Confluent Parallel Consumer, ordered by key. Arguments: topic, group, batch size, sessions.
 *
 * <p>CONTENDER_SQL is the statement of consumers/rows.py, with question marks; it merges and writes like that
 * module. JDBC_URL is PostgreSQL.
 */
public final class ParallelConsumer {
    private static final ObjectMapper JSON = new ObjectMapper();

    private record Key(String app, String row) implements Comparable<Key> {
        @Override
        public int compareTo(Key other) {
            int apps = app.compareTo(other.app);
            return apps != 0 ? apps : row.compareTo(other.row);
        }
    }

    private static final class Change {
        final ObjectNode tags = JSON.createObjectNode();
        long sessions;
        long mirrored;
        long firstAt = -1;
        long lastAt;

        void add(JsonNode tags, long sessions, long mirrored, long at) {
            tags.fields().forEachRemaining(
                    tag -> this.tags.set(tag.getKey().replaceFirst("^tags\\.", ""), tag.getValue()));
            this.sessions += sessions;
            this.mirrored += mirrored;
            firstAt = firstAt < 0 ? at : firstAt;
            lastAt = at;
        }
    }

    private ParallelConsumer() {}

    public static void main(String[] arguments) throws Exception {
        int sessions = Integer.parseInt(arguments[3]);
        BlockingQueue<Connection> connections = new LinkedBlockingQueue<>();
        for (int number = 0; number < sessions; number++) {
            connections.add(connect());
        }
        var options = ParallelConsumerOptions.<String, String>builder()
                .ordering(ProcessingOrder.KEY)
                .maxConcurrency(sessions)
                .batchSize(Integer.parseInt(arguments[2]))
                .consumer(new KafkaConsumer<>(properties(arguments[1])))
                .build();
        ParallelStreamProcessor<String, String> processor =
                ParallelStreamProcessor.createEosStreamProcessor(options);
        Runtime.getRuntime().addShutdownHook(new Thread(processor::closeDrainFirst));
        processor.subscribe(List.of(arguments[0]));
        processor.poll(context -> {
            Map<Key, Change> changes = new TreeMap<>();
            context.stream().forEach(message -> merge(changes, message.value()));
            write(connections, changes);
        });
    }

    private static Properties properties(String group) {
        var properties = new Properties();
        properties.put("bootstrap.servers", System.getenv("KAFKA_BOOTSTRAP_SERVERS"));
        properties.put("group.id", group);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        properties.put("session.timeout.ms", "10000");
        properties.put("key.deserializer", StringDeserializer.class.getName());
        properties.put("value.deserializer", StringDeserializer.class.getName());
        return properties;
    }

    private static Connection connect() throws Exception {
        Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
        connection.setAutoCommit(true);
        try (var statement = connection.createStatement()) {
            statement.execute("SET synchronous_commit = off");
        }
        return connection;
    }

    private static void merge(Map<Key, Change> changes, String message) {
        try {
            JsonNode update = JSON.readTree(message);
            String app = update.get("app").asText();
            long at = update.get("at").asLong();
            JsonNode patch = update.get("patch");
            JsonNode tags = patch.get("=");
            changes.computeIfAbsent(new Key(app, update.get("record").asText()), key -> new Change())
                    .add(tags, patch.get("+").get("session_count").asLong(), 0, at);
            JsonNode parent = update.path("links").path("email");
            if (parent.isTextual()) {
                changes.computeIfAbsent(new Key(app, parent.asText()), key -> new Change())
                        .add(tags, 0, 1, at);
            }
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static void write(BlockingQueue<Connection> connections, Map<Key, Change> changes) {
        try {
            Connection connection = connections.take();
            try (PreparedStatement statement =
                    connection.prepareStatement(System.getenv("CONTENDER_SQL"))) {
                var values = List.copyOf(changes.values());
                array(connection, statement, 1, "text", changes.keySet().stream().map(Key::app).toArray());
                array(connection, statement, 2, "text", changes.keySet().stream().map(Key::row).toArray());
                array(connection, statement, 3, "text",
                        values.stream().map(change -> change.tags.toString()).toArray());
                array(connection, statement, 4, "bigint", values.stream().map(c -> c.sessions).toArray());
                array(connection, statement, 5, "bigint", values.stream().map(c -> c.mirrored).toArray());
                array(connection, statement, 6, "bigint", values.stream().map(c -> c.firstAt).toArray());
                array(connection, statement, 7, "bigint", values.stream().map(c -> c.lastAt).toArray());
                statement.execute();
            } finally {
                connections.add(connection);
            }
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static void array(
            Connection connection, PreparedStatement statement, int at, String type, Object[] values)
            throws Exception {
        statement.setArray(at, connection.createArrayOf(type, values));
    }
}
