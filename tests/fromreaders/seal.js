'use strict';
// Seals ARC chains with mailauth: on standard input a job a line, with tabs between its words.
//
//     seal FILE SERVER STATUS DOMAIN SELECTOR KEY      seals into FILE.sealed, and answers ok
//
// The results are those of the Authentication-Results field with the name SERVER.
const fs = require('node:fs');
const readline = require('node:readline');
const { sealMessage } = require('mailauth');

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [, path, server, status, signingDomain, selector, key] = line.split('\t');
        const message = fs.readFileSync(path);
        const prefix = `Authentication-Results: ${server};`;
        const fields = message.toString('latin1').split('\r\n\r\n')[0].split(/\r\n(?![ \t])/);
        const found = fields.find(field => field.startsWith(prefix)) || `${prefix} none`;
        const headers = await sealMessage(message, {
            signingDomain, selector, privateKey: fs.readFileSync(key, 'utf8'), cv: status,
            authResults: `${server};${found.slice(prefix.length)}`,
        });
        fs.writeFileSync(`${path}.sealed`, Buffer.concat([headers, message]));
        console.log('ok');
    }
}

main();
