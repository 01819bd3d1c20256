import { createHmac } from 'node:crypto'
import type { Envelope } from './envelope.ts'
import type { Post } from './delivery.ts'

/** `sha256=` and the HMAC of the body under the target's secret, as GitHub signs its webhooks. */
export function signatureOf(secret: string, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

/** The call by which a webhook is told of an event. */
export function postOf(
  target: { name: string; endpoint: string; secret: string | null },
  event: Envelope,
  attempt: number,
): Post {
  const body = JSON.stringify(event)
  return {
    url: target.endpoint, body,
    headers: {
      'content-type': 'application/json; charset=utf-8', 'user-agent': 'hearth-events',
      'x-hearth-target': target.name, 'x-hearth-event-id': event.id, 'x-hearth-attempt': String(attempt),
      ...(target.secret === null ? {} : { 'x-hearth-signature-256': signatureOf(target.secret, body) }),
    },
  }
}
