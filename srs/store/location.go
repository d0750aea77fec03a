package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Location is where a store is: a folder, or a server of Valkey or Redis.
type Location struct {
	Dir string // "" for a server

	Network, Address string // as for net.Dial
	Host             string // "" for a Unix socket
	Port             uint16 // 0 for a Unix socket
	TLS              bool
	Database         int
}

// Parse reads where a store is:
//
//	dir:/PATH                     a folder
//	redis://HOST:PORT/DATABASE    Valkey or Redis; port 6379, and database 0, by default
//	rediss://HOST:PORT/DATABASE   the same by TLS, verified; port 6379 by default
//	redis+unix:///PATH            the same at a Unix-domain socket; ?db=DATABASE
//
// Users and passwords are not part of it, because configuration files are readable by many.
func Parse(location string) (Location, error) {
	if dir, isDir := strings.CutPrefix(location, "dir:"); isDir {
		if !filepath.IsAbs(dir) {
			return Location{}, fmt.Errorf("%+.100q: the folder must be an absolute path, as in "+
				"dir:/var/lib/postmend/srs", location)
		}
		return Location{Dir: filepath.Clean(dir)}, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return Location{}, errors.New("not a location such as dir:/PATH or redis://HOST:PORT/0")
	}
	if u.User != nil {
		return Location{}, errors.New("user and password belong into store_user and store_password_file")
	}
	l, database := Location{}, strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss":
		l.Host, l.Port, l.TLS = u.Hostname(), 6379, u.Scheme == "rediss"
		if port := u.Port(); port != "" {
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil || number == 0 {
				return Location{}, fmt.Errorf("%+.100q: port %+q is not a number from 1 to 65535",
					location, port)
			}
			l.Port = uint16(number)
		}
		if l.Host == "" || u.RawQuery != "" {
			return Location{}, fmt.Errorf("%+.100q: not of the form %s://HOST:PORT/DATABASE",
				location, u.Scheme)
		}
		l.Network, l.Address = "tcp", net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
	case "redis+unix":
		query := u.Query()
		database = query.Get("db")
		query.Del("db")
		if u.Host != "" || !filepath.IsAbs(u.Path) || len(query) > 0 {
			return Location{}, fmt.Errorf("%+.100q: not of the form redis+unix:///PATH?db=DATABASE", location)
		}
		l.Network, l.Address = "unix", u.Path
	default:
		return Location{}, fmt.Errorf("%+.100q is not of the form dir:/PATH, redis://HOST:PORT/DATABASE, "+
			"rediss://HOST:PORT/DATABASE or redis+unix:///PATH", location)
	}
	if u.Fragment != "" {
		return Location{}, fmt.Errorf("%+.100q: no # is expected", location)
	}
	if database != "" {
		number, err := strconv.ParseUint(database, 10, 16)
		if err != nil {
			return Location{}, fmt.Errorf("%+.100q: database %+q is not a number", location, database)
		}
		l.Database = int(number)
	}
	return l, nil
}
