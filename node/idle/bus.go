package idle

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// A bus is a D-Bus connection that is made when needed and again after it broke.
type bus struct {
	address string
	conn    *dbus.Conn
}

var errNoBus = errors.New("no such bus here")

func (b *bus) get(ctx context.Context) (*dbus.Conn, error) {
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.address == "" {
		return nil, errNoBus
	}
	b.close()
	conn, err := dbus.Dial(b.address, dbus.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, fmt.Errorf("cannot reach the bus: %w", err)
	}
	done := make(chan error, 1)
	go func() { // the handshake has no deadline of its own: closing the connection ends it
		err := conn.Auth(nil)
		if err == nil {
			err = conn.Hello()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		conn.Close()
		<-done
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot reach the bus: %w", err)
	}
	b.conn = conn
	return conn, nil
}

// call makes a method call that starts no service, and stores its results.
func (b *bus) call(ctx context.Context, service, path, method string, results ...any) error {
	conn, err := b.get(ctx)
	if err != nil {
		return err
	}
	c := conn.Object(service, dbus.ObjectPath(path)).CallWithContext(ctx, method, dbus.FlagNoAutoStart)
	if c.Err != nil {
		return notThere(service, c.Err)
	}
	return c.Store(results...)
}

// props returns all properties of an interface of an object.
func (b *bus) props(ctx context.Context, service string, path dbus.ObjectPath, iface string) (map[string]dbus.Variant, error) {
	conn, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	c := conn.Object(service, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", dbus.FlagNoAutoStart, iface)
	if c.Err != nil {
		return nil, notThere(service, c.Err)
	}
	var m map[string]dbus.Variant
	err = c.Store(&m)
	return m, err
}

func notThere(service string, err error) error {
	var e dbus.Error
	if errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return fmt.Errorf("%s is not on the bus", service)
	}
	return err
}

func (b *bus) close() {
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// systemBus and sessionBus are the addresses that the D-Bus specification gives them.
func systemBus(o Options) string {
	if a := o.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		return a
	}
	return socketAddress(o.path("/run/dbus/system_bus_socket"))
}

func sessionBus(o Options) string {
	if a := o.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a
	}
	return socketAddress(runtimeDir(o) + "/bus")
}
