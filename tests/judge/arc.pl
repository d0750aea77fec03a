# Verifies and seals ARC chains with Mail::DKIM: DNS-SERVER-PORT, and on standard input a job a line, with tabs between its words.
#
#     verify FILE                                      answers pass, fail or none
#     seal FILE SERVER STATUS DOMAIN SELECTOR KEY      seals into FILE.sealed, and answers ok
use strict;
use warnings;
use Mail::DKIM::ARC::Signer;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;
use Mail::DKIM::TextWrap;
use Net::DNS::Resolver;

Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => shift, recurse => 1));
$| = 1;

while (my $line = <STDIN>) {
    chomp $line;
    my ($job, $path, $server, $status, $domain, $selector, $key) = split /\t/, $line;
    open my $file, '<:raw', $path or die "$path: $!";
    my $message = do { local $/; <$file> };
    if ($job eq 'verify') {
        my $verifier = Mail::DKIM::ARC::Verifier->new;
        $verifier->PRINT($message);
        $verifier->CLOSE;
        print $verifier->result =~ /^(pass|none)$/ ? $1 : 'fail', "\n";
        next;
    }
    $message = "Authentication-Results: $server; arc=$status; spf=pass smtp.mailfrom=a\@b.example\r\n$message";
    my $signer = Mail::DKIM::ARC::Signer->new(
        Algorithm => 'rsa-sha256', Chain => $status, Domain => $domain, SrvId => $server, Selector => $selector, KeyFile => $key);
    $signer->PRINT($message);
    $signer->CLOSE;
    open my $sealed, '>:raw', "$path.sealed" or die "$path.sealed: $!";
    print $sealed $signer->as_string, $message;
    close $sealed;
    print "ok\n";
}
