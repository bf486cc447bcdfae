import type { Settings } from '../settings/definitions.ts';
import type { Endpoint } from './endpoint.ts';
import { readCampaign } from './read-campaign.ts';

export type EndpointSettings = Parameters<typeof readCampaign>[0];

/** The public endpoints. Another one is a file in this folder and a line here. */
export function publicEndpoints(settings: Pick<Settings, keyof EndpointSettings>): readonly Endpoint[] {
  return [readCampaign(settings)];
}
