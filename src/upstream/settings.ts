/** The settings that this folder reads; `Settings` satisfies it. */
export interface UpstreamSettings {
  readonly CAMPAIGN_SERVICE_URL: URL;
  readonly CAMPAIGN_SERVICE_TOKEN?: string | undefined;
  readonly CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: number;
  readonly CAMPAIGN_SERVICE_MAX_BODY_BYTES: number;
  readonly CAMPAIGN_SERVICE_MAX_CONCURRENCY: number;
  readonly CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS: number;
  readonly CAMPAIGN_SERVICE_RETRIES: number;
  readonly CAMPAIGN_SERVICE_BREAKER_FAILURES: number;
  readonly CAMPAIGN_SERVICE_BREAKER_OPEN_MS: number;
  readonly CAMPAIGN_SERVICE_CA_FILE?: string | undefined;
  readonly CAMPAIGN_SERVICE_CERT_FILE?: string | undefined;
  readonly CAMPAIGN_SERVICE_KEY_FILE?: string | undefined;
}
