import { z } from 'zod';
import type { Settings } from '../settings.ts';
import type { Endpoint } from './endpoint.ts';
import { identifier } from './identifier.ts';
import { rfc3339Timestamp } from './rfc3339.ts';

const orNull = <T extends z.ZodType>(schema: T) => schema.nullable().default(null);

/** The twelve public fields. Workflow definitions are none of them, and neither is anything else. */
const campaign = z.object({
  id: z.string(),
  name: z.string(),
  status: z.string(),
  description: orNull(z.string()),
  outreachLanguage: orNull(z.string()),
  selectedLeadCount: z.int().min(0),
  includeConversationHistory: z.boolean(),
  autoCancelOnMessageReceived: z.boolean(),
  createdAt: rfc3339Timestamp,
  updatedAt: rfc3339Timestamp,
  startedAt: orNull(rfc3339Timestamp),
  rateLimitedUntil: orNull(rfc3339Timestamp),
});

export function readCampaign(
  settings: Pick<Settings, 'CAMPAIGN_SERVICE_PATH' | 'CAMPAIGN_SERVICE_RESULT_POINTER'>,
): Endpoint {
  return {
    title: 'Read a campaign',
    description: 'Bounded public metadata of one campaign, never its workflow definitions.',
    path: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    permission: 'campaigns:read',
    parameters: { accountGroupId: identifier, campaignId: identifier },
    response: campaign,
    upstreamPath: settings.CAMPAIGN_SERVICE_PATH,
    resultPointer: settings.CAMPAIGN_SERVICE_RESULT_POINTER,
    idParameter: 'campaignId',
    notFound: 'There is no such campaign in this account group.',
  };
}
