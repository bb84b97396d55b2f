# A program with libwww-perl.
use strict;
use warnings;
use HTTP::Request;
use JSON::PP;
use LWP::UserAgent;

my $base = 'https://spaces.nexudus.com';
my $agent = LWP::UserAgent->new(env_proxy => 1, timeout => 60);

sub ask {
    my ($method, $path, $body, @headers) = @_;
    return $agent->request(HTTP::Request->new($method, $base . $path, \@headers, $body));
}

my $form = "grant_type=password&username=$ENV{NEXUDUS_EMAIL}&password=$ENV{NEXUDUS_PASSWORD}";
my $login = ask('POST', '/api/token', $form, 'Content-Type' => 'application/x-www-form-urlencoded');
my @headers = (Authorization => 'Bearer ' . decode_json($login->content)->{access_token});
my @counts = map {
    scalar @{ decode_json(ask('GET', "/api/spaces/visitors?page=$_&size=2", undef, @headers)->content)->{Records} }
} 1, 2;
my @json = (@headers, 'Content-Type' => 'application/json');
my $created = ask('POST', '/api/spaces/visitors', '{"FullName": "Grace"}', @json);
my $number = decode_json($created->content)->{Value}{Id};
my $deleted = ask('DELETE', "/api/spaces/visitors/$number", undef, @headers);
my $echo = ask('PUT', '/api/echo', 'x' x 300_000, @headers);
my $file = ask('GET', "/ContentDownload/x?bytes=$ARGV[0]", undef, @headers);
my $error = ask('GET', '/api/spaces/visitors/999999', undef, @headers);
print join(' ', @counts, $created->code, $deleted->code, decode_json($echo->content)->{body_length},
    length $file->content, $error->code), "\n";
