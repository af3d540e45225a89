package docker_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/fixtures/testbase"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// The tests that begin with TestDocker run against a real engine and an image with perl.

// stand is a stand-in for a server: it reads the model, says so, and answers
// /health with 503 until it is told otherwise by its first flag:
//
//	serve N  ready after N seconds    crash N   exits with code N
//	kill N   dies of signal N         hang      never binds, does nothing
const stand = `
use IO::Socket::INET; use strict; $| = 1;
my %a; my @rest; while (@ARGV) { my $k = shift; if ($k =~ /^--(host|port|model)$/) { $a{$1} = shift } else { push @rest, $k } }
my ($what, $n) = @rest; my $born = time;
print STDERR "loading $a{model}\n";
if ($what eq "crash") { print STDERR "error: invalid argument\n"; exit $n }
if ($what eq "kill") { kill $n, $$; sleep 5 }
if ($what eq "hang") { sleep 1000 }
open my $f, "<", $a{model} or die "model: $!\n"; read $f, my $magic, 4;
my $s = IO::Socket::INET->new(LocalAddr => $a{host}, LocalPort => $a{port}, Listen => 5, ReuseAddr => 1) or die $!;
print "listening, model starts with $magic\n"; $SIG{TERM} = sub { exit 0 };
while (my $c = $s->accept) {
  my $r = <$c>; while (defined(my $h = <$c>)) { last if $h =~ /^\r?\n$/ }
  my ($code, $body) = time - $born < $n ? ("503 Busy", '{"error":{"message":"Loading model"}}') : ("200 OK", '{"status":"ok"}');
  print $c "HTTP/1.1 $code\r\nContent-Length: ", length $body, "\r\nConnection: close\r\n\r\n$body"; close $c;
}`

// real connects to the engine and makes a spec whose traces go with the test.
func real(t *testing.T, flags ...string) (*docker.Engine, *client.Client, engine.Spec) {
	t.Helper()
	if os.Getenv(testbase.Gate) != "1" {
		t.Skip("needs a Docker engine: set " + testbase.Gate + "=1")
	}
	api, e, err := docker.Discover(t.Context(), docker.Options{Getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	ref := testbase.Image(t, api)
	img, err := api.ImageInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	s := onDisk(t)
	if err := os.Chmod(s.Project, 0o755); err != nil {
		t.Fatal(err)
	}
	// The folder's parents have to be passable for the container's user too.
	for d := filepath.Dir(s.Project); d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.Image, s.ImageRef = img.ID, ref
	s.Entrypoint, s.Flags = []string{"perl", "-e", stand, "--"}, flags
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		removeAll(t, docker.New(api, e, nil), s.Project)
		helpers, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
			filters.Arg("label", docker.LabelRole+"="+docker.RoleHelper), filters.Arg("label", docker.LabelProject+"="+s.Project))})
		if err != nil || len(helpers) > 0 {
			t.Errorf("helpers left: %v, %v", helpers, err)
		}
		volumes, err := api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", docker.LabelModelHost))})
		if err != nil {
			t.Error(err)
		}
		for _, v := range volumes.Volumes {
			if strings.HasPrefix(v.Labels[docker.LabelModelHost], s.Project) {
				if err := api.VolumeRemove(ctx, v.Name, true); err != nil {
					t.Error(err)
				}
			}
		}
		_ = api.Close()
	})
	return docker.New(api, e, nil), api, s
}

func removeAll(t *testing.T, d *docker.Engine, project string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	list, err := d.Observe(ctx, project)
	if err != nil {
		t.Error(err)
	}
	for _, i := range list {
		if err := d.Remove(ctx, i, 0); err != nil {
			t.Error(err)
		}
	}
}

// inside runs a command in the container and returns what it printed.
func inside(t *testing.T, api *client.Client, id string, cmd ...string) string {
	t.Helper()
	e, err := api.ContainerExecCreate(t.Context(), id, container.ExecOptions{Cmd: cmd, AttachStdout: true, AttachStderr: true, Tty: true})
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.ContainerExecAttach(t.Context(), e.ID, container.ExecAttachOptions{Tty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(h.Reader); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), "\r", "")
}

// withProbe is the image with a program that does what our probe does, and the
// label that says so.
func withProbe(t *testing.T, api *client.Client, base string) string {
	t.Helper()
	ctx := t.Context()
	made, err := api.ContainerCreate(ctx, &container.Config{Image: base, Cmd: []string{
		"perl", "-e", `open my $f, ">", "/probe"; print $f "#!/usr/bin/perl\nopen my \$f, '<', \$ARGV[1] or exit 1; exit 0\n"; chmod 0755, "/probe"`,
	}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = api.ContainerRemove(context.WithoutCancel(ctx), made.ID, container.RemoveOptions{Force: true})
	}()
	if err := api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	done, failed := api.ContainerWait(ctx, made.ID, container.WaitConditionNotRunning)
	select {
	case <-done:
	case err := <-failed:
		t.Fatal(err)
	}
	img, err := api.ContainerCommit(ctx, made.ID, container.CommitOptions{Config: &container.Config{Labels: map[string]string{"dev.llorch.probe": "/probe"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.WithoutCancel(ctx), img.ID, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return img.ID
}
