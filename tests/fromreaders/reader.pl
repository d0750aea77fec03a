# Perl's Email::Address::XS and Mail::Address, both on the fields that Mail::Header finds. Standard input has a message a line, in
# base64; standard output gets, for each, a line for each reader in turn: the addresses that it takes for the author's, in base64.
use strict;
use warnings;
use Email::Address::XS;
use MIME::Base64;
use Mail::Address;
use Mail::Header;

sub show {
    print join(' ', map { encode_base64($_, '') } grep { defined && length } @_), "\n";
}

while (my $line = <STDIN>) {
    my $message = decode_base64($line);
    $message =~ s/\r\n/\n/g;
    my @lines = $message =~ /(.*?\n|.+\z)/gs;
    my @fields = eval { Mail::Header->new(\@lines, Modify => 0)->get('From') };
    chomp @fields;
    show(eval { map { $_->address } map { Email::Address::XS->parse($_) } @fields });
    show(eval { map { $_->address } map { Mail::Address->parse($_) } @fields });
}
