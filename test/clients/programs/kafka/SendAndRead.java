import java.io.FileReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Makes a topic, sends a record and reads it. Arguments: the file of the client's settings, the brokers, the topic. */
public class SendAndRead {
  public static void main(String[] args) throws Exception {
    Properties settings = new Properties();
    settings.load(new FileReader(args[0]));
    settings.put("bootstrap.servers", args[1]);
    String topic = args[2];
    try (Admin admin = Admin.create(settings)) {
      admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
    }
    try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      producer.send(new ProducerRecord<>(topic, "key", "a record")).get();
    }
    settings.putAll(Map.of("group.id", topic, "auto.offset.reset", "earliest"));
    try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
      consumer.subscribe(List.of(topic));
      for (var records = consumer.poll(Duration.ofSeconds(1)); ; records = consumer.poll(Duration.ofSeconds(1))) {
        if (records.isEmpty()) continue;
        System.out.println("read: " + records.iterator().next().value());
        return;
      }
    }
  }
}
