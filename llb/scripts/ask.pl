# Asks the program that has this build made, through the socket that it lends to the step:
#   perl ask.pl GET PATH >FILE
#   perl ask.pl PUT PATH <FILE
# Every Debian has Perl, and no step that compiles has curl. An answer that is cut off is
# none, and so is one that is not 200.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($method, $path) = @ARGV;
my $socket = $ENV{LLORCH_OBJECTS} // '/run/llorch/objects';
$SIG{PIPE} = 'IGNORE';
alarm 600;
my $s = IO::Socket::UNIX->new(Peer => $socket) or die "no connection: $!\n";
binmode $_ for $s, *STDIN, *STDOUT;
my $length = $method eq 'PUT' ? -s STDIN : 0;
print $s "$method $path HTTP/1.1\r\nHost: llorch-bk\r\nContent-Length: $length\r\nConnection: close\r\n\r\n";
while ($length > 0 && read STDIN, my $data, 1 << 16) {
    print $s $data or die "not sent: $!\n";
}
$s->flush;

my ($status) = (<$s> // '') =~ m{^HTTP/1\.[01] (\d+)};
my $left = 0;
while (defined(my $line = <$s>)) {
    last if $line =~ /^\r?\n$/;
    $left = $1 if $line =~ /^Content-Length: (\d+)/i;
}
exit 1 unless ($status // 0) == 200;
while ($left > 0) {
    my $n = read $s, my $data, $left < 1 << 16 ? $left : 1 << 16;
    die "the answer is cut off\n" unless $n;
    print STDOUT $data or die "not written: $!\n";
    $left -= $n;
}
close STDOUT or die "not written: $!\n";
