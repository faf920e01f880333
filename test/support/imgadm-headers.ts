/** Every IMGAPI request of imgadm 3.9.5 carries these, files included; it never sends a Range or a condition. */
export const IMGADM_HEADERS = {
  'x-request-id': '5a5c1d9e-7a10-4b7c-9a67-6f1b0b0f7d11',
  accept: 'application/json',
  'user-agent': 'imgadm/3.9.5 (node/0.10.26; OpenSSL/1.0.1e)',
  'accept-version': '~2',
  date: 'Sat, 21 Nov 2026 12:00:00 GMT',
  connection: 'keep-alive',
}
