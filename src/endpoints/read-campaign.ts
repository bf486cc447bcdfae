import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { identifier } from './identifier.ts';
import { rfc3339Timestamp } from './rfc3339.ts';

export interface ReadCampaignSettings {
  readonly CAMPAIGN_SERVICE_PATH: string;
  readonly CAMPAIGN_SERVICE_RESULT_POINTER: string;
}

const nullableField = <T extends z.ZodType>(schema: T) => schema.nullable().default(null);

/** The twelve public fields. Every other field of the upstream document is dropped. */
const campaign = z.object({
  id: z.string().describe('Unique identifier of the campaign.'),
  name: z.string().describe('Name of the campaign.'),
  description: nullableField(z.string()).describe('Description of the campaign, or null if it has none.'),
  status: z
    .string()
    .describe('Status of the campaign, for example draft, running or paused. New values can be added at any time.'),
  selectedLeadCount: z.int().min(0).describe('Number of leads selected for the campaign.'),
  includeConversationHistory: z
    .boolean()
    .describe('Whether messages take earlier conversations with the lead into account.'),
  autoCancelOnMessageReceived: z
    .boolean()
    .describe('Whether outreach to a lead is canceled when a message from the lead is received.'),
  outreachLanguage: nullableField(z.string()).describe('Language of the outreach messages, or null if none is set.'),
  createdAt: rfc3339Timestamp.describe('Time at which the campaign was created.'),
  updatedAt: rfc3339Timestamp.describe('Time at which the campaign was last updated.'),
  startedAt: nullableField(rfc3339Timestamp).describe(
    'Time at which the campaign started, or null if it has not started.',
  ),
  rateLimitedUntil: nullableField(rfc3339Timestamp).describe(
    'Time at which the campaign’s rate limiting ends, or null if the campaign is not rate limited.',
  ),
});

const example = {
  id: 'cmp_1',
  name: 'Spring outreach',
  description: null,
  status: 'draft',
  selectedLeadCount: 25,
  includeConversationHistory: true,
  autoCancelOnMessageReceived: false,
  outreachLanguage: 'en',
  createdAt: '2026-01-01T08:00:00.000Z',
  updatedAt: '2026-02-01T09:30:00.000Z',
  startedAt: null,
  rateLimitedUntil: null,
} satisfies z.output<typeof campaign>;

export function readCampaign(settings: ReadCampaignSettings): Endpoint {
  return {
    name: 'Campaign',
    title: 'Get a single campaign',
    description: 'Returns bounded public metadata for one campaign without exposing workflow definitions.',
    path: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    permission: 'campaigns:read',
    parameters: {
      accountGroupId: identifier.meta({
        description: 'Account group ID that scopes the request.',
        examples: ['ag_north'],
      }),
      campaignId: identifier.meta({
        description: 'Campaign ID that identifies the campaign to read or mutate.',
        examples: ['cmp_1'],
      }),
    },
    response: campaign,
    responseDescription: 'Campaign metadata without workflow definitions',
    example,
    upstreamPath: settings.CAMPAIGN_SERVICE_PATH,
    resultPointer: settings.CAMPAIGN_SERVICE_RESULT_POINTER,
    idParameter: 'campaignId',
    notFoundMessage: 'There is no such campaign in this account group.',
  };
}
