"""Prints every event of the auth service as one JSON line: topic, key, headers and the decoded message.

python read_events.py DESCRIPTORS [COUNT]: the descriptor set that `buf build` writes; ends after COUNT events, else never.
"""

import json
import os
import sys
import uuid
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException
from google.protobuf import descriptor_pb2, json_format, message_factory

TOPICS = [
    "user-signup",
    "user-login",
    "password-reset",
    "user-email-verification",
    "user-password-changed",
    "user-deleted",
    "user-security",
]


def messages(file):
    """Message classes by full name, straight from the contract: nothing is generated."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(Path(file).read_bytes())
    return message_factory.GetMessages(descriptors.file)


def main(file, count=None):
    classes = messages(file)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": os.environ.get("KAFKA_GROUP", f"reader-{uuid.uuid4()}"),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(TOPICS)
    seen = 0
    try:
        while count is None or seen < count:
            record = consumer.poll(1)
            if record is None:
                continue
            if record.error():
                if record.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue  # made when the auth service starts
                raise KafkaException(record.error())
            headers = {name: value.decode() for name, value in record.headers() or []}
            message = classes[headers["ce_type"]].FromString(record.value())
            line = {
                "topic": record.topic(),
                "key": record.key().decode(),
                "headers": headers,
                "event": json_format.MessageToDict(message, always_print_fields_with_no_presence=True),
            }
            print(json.dumps(line), flush=True)
            seen += 1
    finally:
        consumer.close()


main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
