# Mail::DKIM's verdict on each DKIM-Signature of many messages: DNS-SERVER-PORT FILE..., a line `file<TAB>pass fail ...` for each.
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my $port = shift;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $port, recurse => 1));

for my $path (@ARGV) {
    my $verifier = Mail::DKIM::Verifier->new;
    open my $file, '<:raw', $path or die "$path: $!";
    while (read $file, my $part, 65536) { $verifier->PRINT($part) }
    close $file;
    $verifier->CLOSE;
    # An algorithm it does not know is "invalid"; without Crypt::PK::Ed25519 it knows no ed25519.
    print "$path\t", join(' ', map { $_->result eq 'pass' ? 'pass' : $_->result eq 'invalid' ? 'unknown' : 'fail' } $verifier->signatures), "\n";
}
