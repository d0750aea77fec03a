package store

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postmend/srs"
	"postmend/tests/peer"
)

// onFileSystem gives a store on a file system of its own.
func onFileSystem(t *testing.T, options string) (s Store, dir string) {
	t.Helper()
	peer.NeedRoot(t)
	mounted := t.TempDir()
	if err := syscall.Mount("tmpfs", mounted, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mounted, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir = filepath.Join(mounted, "srs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return at(t, "dir:"+dir, morning), dir
}

// wantClosed wants that a store takes no new entry, gives the one that it has, and that Inspect says why.
func wantClosed(t *testing.T, s Store, dir, why string) {
	t.Helper()
	another := srs.Key{Day: key.Day, Token: "zzzzzzzzzzzzzzzzzzzz"}
	if err := s.Put(t.Context(), another, sender); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("Put: %v, want an error with %q", err, why)
	}
	if _, err := s.Get(t.Context(), another); !errors.Is(err, srs.ErrUnknown) {
		t.Errorf("what was not stored: %v", err)
	}
	wantSender(t, s, key, sender)
	h := Inspect(t.Context(), Options{URL: "dir:" + dir}, nil)
	if h.Err != nil || h.Closed == nil || !strings.Contains(h.Closed.Error(), why) {
		t.Errorf("Inspect: %v, closed: %v; want %q", h.Err, h.Closed, why)
	}
}

func TestAStoreLeavesRoomOnItsFileSystem(t *testing.T) {
	t.Run("octets", func(t *testing.T) {
		s, dir := onFileSystem(t, "size=80m")
		put(t, s, key, sender)
		ballast := filepath.Join(filepath.Dir(dir), "ballast")
		if err := os.WriteFile(ballast, make([]byte, 20<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		wantClosed(t, s, dir, "MiB left")
		put(t, s, key, sender) // takes no room
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		put(t, s, srs.Key{Day: key.Day, Token: "zzzzzzzzzzzzzzzzzzzz"}, sender)
	})
	t.Run("inodes", func(t *testing.T) {
		s, dir := onFileSystem(t, "size=200m,nr_inodes=10100")
		put(t, s, key, sender)
		for n := range 100 {
			path := filepath.Join(filepath.Dir(dir), strconv.Itoa(n))
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		wantClosed(t, s, dir, "inodes left")
	})
	t.Run("read-only", func(t *testing.T) {
		s, dir := onFileSystem(t, "size=200m")
		put(t, s, key, sender)
		err := syscall.Mount("", filepath.Dir(dir), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		if err != nil {
			t.Fatal(err)
		}
		wantClosed(t, s, dir, "read-only")
	})
}

// Others may take the room between the look at it and the writing: then the system says no.
func TestAnEntryThatDoesNotFitIsNotThereInPart(t *testing.T) {
	for name, options := range map[string]string{"no octets": "size=16k", "no inodes": "nr_inodes=6"} {
		t.Run(name, func(t *testing.T) {
			s, _ := onFileSystem(t, options)
			root, err := s.(*files).open()
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := root.makeShard(key); err != nil {
				t.Fatal(err)
			}
			var full srs.Key
			for n := 0; full == (srs.Key{}); n++ {
				next := srs.Key{Day: key.Day, Token: "ab" + token(n)[2:]}
				err := root.write(next, encode(next, sender))
				switch {
				case err == nil:
					wantSender(t, s, next, sender)
				case errors.Is(err, syscall.ENOSPC):
					full = next
				default:
					t.Fatal(err)
				}
			}
			if _, err := s.Get(t.Context(), full); !errors.Is(err, srs.ErrUnknown) {
				t.Errorf("what did not fit: %v", err)
			}
			names, err := root.names(shardOf(key))
			for _, left := range names {
				if strings.HasPrefix(left, ".") {
					t.Errorf("left behind: %s", left)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
