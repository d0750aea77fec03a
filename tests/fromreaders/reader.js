'use strict';
// mailauth and two generations of nodemailer's addressparser. Standard input has a message a line, in base64; standard
// output gets, for each, a line for each reader in turn: the addresses that it takes for the author's, in base64.
const readline = require('node:readline');
const { dkimVerify } = require('mailauth/lib/dkim/verify');
const { parseHeaders } = require('mailauth/lib/tools');
const parsers = [require('nodemailer/lib/addressparser'), require('nodemailer-6/lib/addressparser')];

const print = addresses => console.log(addresses.map(a => Buffer.from(a).toString('base64')).join(' '));

const flat = list => list.flatMap(entry => (entry.group ? flat(entry.group) : entry.address ? [entry.address] : []));

async function mailauth(message) {
    const { headerFrom } = await dkimVerify(message, {});
    print(headerFrom || []);
}

function nodemailer(parse, message) {
    const end = message.indexOf('\r\n\r\n');
    const header = parseHeaders(end < 0 ? message : message.subarray(0, end + 2));
    const values = header.parsed
        .filter(field => field.key === 'from')
        .map(field => field.line.toString())
        .map(line => line.slice(line.indexOf(':') + 1).replace(/\r?\n/g, ''));
    print(values.flatMap(value => flat(parse(value))));
}

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const message = Buffer.from(line, 'base64');
        await mailauth(message);
        parsers.forEach(parse => nodemailer(parse, message));
    }
}

main();
