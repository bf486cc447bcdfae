export const helpText = `Usage: campaign-gateway COMMAND [OPTIONS]

Keys
  keys create      Create an API key and print it once
    --name NAME
    --permission RESOURCE:ACTION     repeatable
    --account-group GROUP            repeatable; or --all-account-groups
    [--rate-limit 600/60s]           repeatable; default: RATE_LIMIT_DEFAULT
    [--expires-in 90d]               default: never
  keys list        List all keys
  keys show ID     Show a key and its history
  keys rotate ID   Create a successor with the same permissions and expire the key
    [--overlap 24h]                  how long the old key stays valid
  keys revoke ID   Revoke a key permanently

Cache
  cache purge      Remove cached responses from every gateway
    --account-group GROUP
    [--campaign CAMPAIGN]

Diagnostics
  config           Show the settings in force, with secrets masked
  explain          Show what each stage would decide for a GET request, without sending it
    --key-id ID
    --path /v1/accounts/GROUP/campaigns/CAMPAIGN
  openapi          Print the OpenAPI document

Options
  --json           Print one JSON value to standard output
  --actor NAME     Who changes a key, for its history; default: the system user
  -h, --help       Show this help

Settings are read from the environment, as the gateway does. See config/gateway.env.
`;
