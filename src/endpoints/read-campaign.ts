import { z } from 'zod';
import type { Settings } from '../settings/definitions.ts';
import type { Endpoint } from './endpoint.ts';
import { identifier } from './identifier.ts';
import { rfc3339Timestamp } from './rfc3339.ts';

const nullableField = <T extends z.ZodType>(schema: T) => schema.nullable().default(null);

/** The twelve public fields. Workflow definitions are none of them, and neither is anything else. */
const campaign = z.object({
  id: z.string().describe('The campaign’s id, as in the path.'),
  name: z.string().describe('What people call it.'),
  status: z
    .string()
    .describe('Such as draft, running or paused. There may be new ones one day: take what you do not know as such.'),
  description: nullableField(z.string()).describe('What it is for.'),
  outreachLanguage: nullableField(z.string()).describe('The language it speaks to its leads.'),
  selectedLeadCount: z.int().min(0).describe('How many leads it has.'),
  includeConversationHistory: z.boolean().describe('Whether its messages know earlier conversations.'),
  autoCancelOnMessageReceived: z.boolean().describe('Whether it ends for a lead who answers.'),
  createdAt: rfc3339Timestamp.describe('When it was made.'),
  updatedAt: rfc3339Timestamp.describe('When it was last changed.'),
  startedAt: nullableField(rfc3339Timestamp).describe('When it began, if it has.'),
  rateLimitedUntil: nullableField(rfc3339Timestamp).describe('Until when it rests, if it does.'),
});

const example = {
  id: 'cmp_1',
  name: 'Spring outreach',
  status: 'draft',
  description: null,
  outreachLanguage: 'en',
  selectedLeadCount: 25,
  includeConversationHistory: true,
  autoCancelOnMessageReceived: false,
  createdAt: '2026-01-01T08:00:00.000Z',
  updatedAt: '2026-02-01T09:30:00.000Z',
  startedAt: null,
  rateLimitedUntil: null,
} satisfies z.output<typeof campaign>;

export function readCampaign(
  settings: Pick<Settings, 'CAMPAIGN_SERVICE_PATH' | 'CAMPAIGN_SERVICE_RESULT_POINTER'>,
): Endpoint {
  return {
    name: 'Campaign',
    title: 'Read a campaign',
    description: 'Bounded public metadata of one campaign, never its workflow definitions.',
    path: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    permission: 'campaigns:read',
    parameters: {
      accountGroupId: identifier.meta({
        description: 'An account group that the key was given.',
        examples: ['ag_north'],
      }),
      campaignId: identifier.meta({ description: 'A campaign of this account group.', examples: ['cmp_1'] }),
    },
    response: campaign,
    example,
    upstreamPath: settings.CAMPAIGN_SERVICE_PATH,
    resultPointer: settings.CAMPAIGN_SERVICE_RESULT_POINTER,
    idParameter: 'campaignId',
    notFoundMessage: 'There is no such campaign in this account group.',
  };
}
