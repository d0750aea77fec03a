package postconf

import "fmt"

// Version is a release of Postfix, such as 3.7.
type Version struct{ Major, Minor int }

func parseVersion(text string) (v Version, err error) {
	if _, err = fmt.Sscanf(text, "%d.%d", &v.Major, &v.Minor); err != nil {
		err = fmt.Errorf("mail_version %q is not a version of Postfix", text)
	}
	return v, err
}

// AtLeast tells whether v is this release or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
