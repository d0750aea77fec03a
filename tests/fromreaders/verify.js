'use strict';
// mailauth's DMARC. ZONE is a file with `name TYPE value` lines; standard input has a JSON object a line, with address, helo, sender and the
// message in base64; standard output gets a line for each: the domain for which DMARC passes, or nothing.
const fs = require('node:fs');
const readline = require('node:readline');
const { authenticate } = require('mailauth');

const records = new Map();
for (const line of fs.readFileSync(process.argv[2], 'utf8').split('\n')) {
    const [, name, type, value] = line.match(/^(\S+) (\S+) (.*)$/) || [];
    const key = `${name} ${type}`.toLowerCase();
    if (name) records.set(key, [...(records.get(key) || []), type === 'TXT' ? [value] : value]);
}

async function resolver(name, type) {
    const found = records.get(`${name} ${type}`.toLowerCase());
    if (found) return found;
    throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
}

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { address, helo, sender, message } = JSON.parse(line);
        const { dmarc } = await authenticate(Buffer.from(message, 'base64'), {
            ip: address, helo, sender, resolver, mta: 'mx.remote.example', disableArc: true, disableBimi: true,
        });
        console.log(dmarc?.status?.result === 'pass' ? dmarc.status.header.d || dmarc.status.header.from : '');
    }
}

main();
