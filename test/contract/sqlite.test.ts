import { onSqlite } from "../support/deployment.ts";
import { contractClients, describeContract } from "./contract.ts";

describeContract("the contract, embedded on SQLite", () => onSqlite({}, contractClients));
