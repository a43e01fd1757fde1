// Calls the official Node client as told on standard input, a JSON object a line; see ../drivers.py.
// usage: node driver.js DIRECTORY-OF-THE-PACKAGE
"use strict";
const path = require("path");
const readline = require("readline");

const directory = path.resolve(process.argv[2]);
const client = require(directory);
const { version } = JSON.parse(require("fs").readFileSync(path.join(directory, "package.json"), "utf8"));

const METHODS = {
  create_user: ["createUser", "User"],
  get_user: ["getUser"],
  update_user: ["updateUser", "UpdateUserRequest"],
  delete_user: ["deleteUser"],
  create_alias: ["createAlias", "UserIdentityBody"],
  get_aliases: ["getAliases"],
  delete_alias: ["deleteAlias"],
  create_alias_by_subscription: ["createAliasBySubscription", "UserIdentityBody"],
  get_aliases_by_subscription: ["getAliasesBySubscription"],
  create_subscription: ["createSubscription", "SubscriptionBody"],
  update_subscription: ["updateSubscription", "SubscriptionBody"],
  delete_subscription: ["deleteSubscription"],
  transfer_subscription: ["transferSubscription", "TransferSubscriptionRequestBody"],
  update_subscription_by_token: ["updateSubscriptionByToken", "SubscriptionBody"],
};

async function called(call) {
  const api = new client.DefaultApi(client.createConfiguration({
    restApiKey: call.key,
    baseServer: new client.ServerConfiguration(call.host, {}),
  }));
  const [method, model] = METHODS[call.operation];
  try {
    const body = call.body === null ? [] : [Object.assign(new client[model](), call.body)];
    return { answer: await api[method](...call.path, ...body) };
  } catch (error) {
    if (error instanceof client.ApiException) {
      return { raised: "ApiException", status: error.code, messages: error.errorMessages };
    }
    return { raised: error.constructor.name, status: null, messages: [String(error.message)] };
  }
}

async function main() {
  console.log(JSON.stringify({ version, on: `Node.js ${process.versions.node}` }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await called(JSON.parse(line)), (_, value) => value === undefined ? null : value));
  }
}

main();
