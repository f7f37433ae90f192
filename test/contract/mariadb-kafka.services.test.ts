import { onMariaDbAndKafka } from "../support/deployment.ts";
import { contractClients, describeContract } from "./contract.ts";

describeContract("the contract, on two replicas with MariaDB and Kafka", () =>
  onMariaDbAndKafka(2, {}, contractClients),
);
