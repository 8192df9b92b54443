"""PythonQt's way of showing Qt to Python, strictly, over PySide6.

3D Slicer's Python sees Qt through PythonQt, PySide6 is what can be installed from a package index. They differ in ways
that matter: in PythonQt a property is an attribute (``button.text`` is a string, ``button.width()`` fails), a signal is
also connected by its C++ signature (``button.connect('clicked()', f)``), the number of its arguments is cut to what a
function takes, and nothing may be added to a C++ object. The proxies here behave the same and **raise on all that
PythonQt does not know**, so that code which passes here has a fair chance in the application. Source of the rules:
PythonQt's ``PythonQtInstanceWrapper.cpp``, ``PythonQtSignal.cpp`` and ``PythonQtSignalReceiver.cpp``.

Not imitated: subclassing Qt classes in Python (refused), keyword arguments (refused), implicit type conversions beyond
numbers.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

slot_errors: list[str] = []
"""Tracebacks of exceptions raised inside slots. PythonQt prints them and goes on; a test must look here and fail."""

NEWER = {"removeRow", "takeRow", "devicePixelRatioF", "checkStateChanged", "horizontalAdvance", "setTabVisible"}
"""Members that Qt got after 5.4 and that are no slots: Slicer's PythonQt does not wrap them."""
_HIDDEN = NEWER | {"tr", "staticMetaObject", "sender", "receivers", "emit"}
_classes: dict[type, type] = {}
_signatures: dict[tuple[type, str], dict[str, str]] = {}
_connections: dict[tuple[int, str], list[tuple[Callable[..., Any], Any]]] = {}


def _protect_constants() -> None:
    """Gives None, True and False references to spare.

    PySide6 6.12 drops one reference too many when it emits a signal with a bool. Before Python 3.12, where they
    became immortal, some thousands of emissions would end the process.
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


_protect_constants()


def wrap(value: Any) -> Any:
    """Returns `value` as PythonQt would hand it to Python: Qt objects as proxies, everything else as it is."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(wrap(item) for item in value)
    if isinstance(value, shiboken6.Shiboken.Object) and not isinstance(value, enum.Enum):
        return wrap_class(type(value))._adopt(value)
    return value


def unwrap(value: Any) -> Any:
    """Returns the PySide6 object behind a proxy; lists and dictionaries are looked through."""
    if isinstance(value, Proxy):
        return value._qt
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, ProxyType):
        return value._pyside
    return value


def wrap_class(pyside: type) -> Any:
    """Returns the proxy class of a PySide6 class, made on first use together with those of its bases."""
    if pyside not in _classes:
        base = next((b for b in pyside.__mro__[1:] if _is_qt(b)), None)
        bases = (wrap_class(base),) if base else (Proxy,)
        _classes[pyside] = ProxyType(pyside.__name__, bases, {"_pyside": pyside, "__slots__": ()})
    return _classes[pyside]


def _is_qt(cls: type) -> bool:
    return issubclass(cls, shiboken6.Shiboken.Object) and cls is not shiboken6.Shiboken.Object


class ProxyType(type):
    """Proxy classes: static methods and enumerators, such as ``qt.QTimer.singleShot``, ``qt.Qt.AlignLeft``."""

    _pyside: type

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> ProxyType:
        """Makes a proxy class; a class statement in a module under test is refused."""
        if bases and "_pyside" not in space:
            raise TypeError(f"{name}: the test host does not support subclassing Qt classes in Python")
        return super().__new__(mcs, name, bases, space)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = enumerator(cls._pyside, name)
        if found is not None:
            return found
        attribute = inspect.getattr_static(cls._pyside, name, None)
        if name in _HIDDEN or attribute is None or isinstance(attribute, (type, QtCore.Signal)):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return _Method(getattr(cls._pyside, name), f"{cls.__name__}.{name}")


def enumerator(pyside: type, name: str) -> Any:
    """Returns the enumerator `name` of any enumeration nested in a class or its bases, else None."""
    for owner in pyside.__mro__:
        for nested in vars(owner).values():
            if isinstance(nested, type) and issubclass(nested, enum.Enum) and name in nested.__members__:
                return nested[name]
    return None


class Proxy(metaclass=ProxyType):
    """An instance of a Qt class, as PythonQt shows it."""

    _pyside: type
    __slots__ = ("__weakref__", "_qt")

    def __init__(self, *args: Any) -> None:
        object.__setattr__(self, "_qt", self._pyside(*[unwrap(a) for a in args]))

    @classmethod
    def _adopt(cls, qt_object: Any) -> Proxy:
        proxy = object.__new__(cls)
        object.__setattr__(proxy, "_qt", qt_object)
        return proxy

    def className(self) -> str:
        """PythonQt's own method: the C++ class name."""
        return type(self).__name__

    def inherits(self, name: str) -> bool:
        """PythonQt's own method: True if the object's class or one of its bases is called `name`."""
        return any(c.__name__ == name for c in type(self).__mro__)

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Connects a function to the signal with this C++ signature, e.g. ``'clicked(bool)'``."""
        return Signal.of(self._qt, signature).connect(function)

    def disconnect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Undoes `connect`."""
        return Signal.of(self._qt, signature).disconnect(function)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for look in (_property, _signal, _method, _enumerator, _dynamic_property, _child):
            found, value = look(self._alive(), name)
            if found:
                return value
        raise AttributeError(f"{self.className()} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        prop = meta_property(self._alive(), name)
        if prop is not None:
            write_property(self._qt, prop, unwrap(value))
        elif _dynamic_property(self._qt, name)[0]:
            self._qt.setProperty(name, unwrap(value))
        else:
            raise AttributeError(
                f"'{name}' does not exist on {self.className()} and creating new attributes on C++ objects "
                "is not allowed"
            )

    def _alive(self) -> Any:
        if not shiboken6.isValid(self._qt):
            raise ValueError(f"Trying to use a destroyed {self.className()} object")
        return self._qt

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._qt)

    def __eq__(self, other: object) -> bool:
        if isinstance(self._qt, QtCore.QObject) or not isinstance(other, Proxy):
            return isinstance(other, Proxy) and _pointer(self._qt) == _pointer(other._qt)
        return bool(self._qt == other._qt)

    def __hash__(self) -> int:
        return hash(_pointer(self._qt))

    def __repr__(self) -> str:
        return f"{self.className()} (C++ object at {_pointer(self._qt):#x})"


def _pointer(qt_object: Any) -> int:
    return int(shiboken6.getCppPointer(qt_object)[0])


# --- what an attribute can be -----------------------------------------------------------------------------------------

Found = tuple[bool, Any]
_NOT_FOUND: Found = (False, None)


def meta_property(qt_object: Any, name: str) -> QtCore.QMetaProperty | None:
    """Returns Qt's description of a property; ``name`` is PythonQt's other word for ``objectName``."""
    if not isinstance(qt_object, QtCore.QObject):
        return None
    meta = qt_object.metaObject()
    index = meta.indexOfProperty("objectName" if name == "name" else name)
    return meta.property(index) if index >= 0 else None


def _property(qt_object: Any, name: str) -> Found:
    prop = meta_property(qt_object, name)
    return (True, wrap(prop.read(qt_object))) if prop is not None else _NOT_FOUND


def write_property(qt_object: Any, prop: QtCore.QMetaProperty, value: Any) -> None:
    """Sets a property, refusing a value of another type, as PythonQt does.

    Raises:
        AttributeError: the property is read-only or the value does not fit it.
    """
    name, kind = str(prop.name()), str(prop.typeName())
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {type(qt_object).__name__} object is not writable")
    if not _fits(kind, value) or not prop.write(qt_object, value):
        raise AttributeError(
            f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value!r})"
        )


def _fits(type_name: str, value: Any) -> bool:
    accepted: dict[str, tuple[type, ...]] = {
        "QString": (str,),
        "bool": (bool, int),
        "int": (int,),
        "double": (int, float),
    }
    return isinstance(value, accepted.get(type_name, (object,)))


def _signal(qt_object: Any, name: str) -> Found:
    signatures = [s for s in signal_signatures(qt_object) if s.split("(")[0] == name]
    return (True, Signal(qt_object, max(signatures, key=len))) if signatures else _NOT_FOUND


def _method(qt_object: Any, name: str) -> Found:
    attribute = getattr(type(qt_object), name, None)
    if name.startswith("_") or name in _HIDDEN or not callable(attribute) or isinstance(attribute, type):
        return _NOT_FOUND
    return True, _Method(getattr(qt_object, name), f"{type(qt_object).__name__}.{name}")


def _enumerator(qt_object: Any, name: str) -> Found:
    value = enumerator(type(qt_object), name)
    return value is not None, value


def _dynamic_property(qt_object: Any, name: str) -> Found:
    if not isinstance(qt_object, QtCore.QObject):
        return _NOT_FOUND
    value = qt_object.property(name)
    return value is not None, wrap(value)


def _child(qt_object: Any, name: str) -> Found:
    if not isinstance(qt_object, QtCore.QObject):
        return _NOT_FOUND
    child = next((c for c in qt_object.children() if c.objectName() == name), None)
    return child is not None, wrap(child)


class _Method:
    """A bound C++ method: positional arguments only, proxies in and out."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self.__name__ = name

    def __call__(self, *args: Any) -> Any:
        if any(callable(a) and not isinstance(a, (Proxy, type)) for a in args):
            if self.__name__ != "QTimer.singleShot":
                raise ValueError(f"{self.__name__} does not take a Python function here; connect a signal instead")
            args = tuple(guarded(a, 0) if callable(a) else a for a in args)
        return wrap(self._function(*[unwrap(a) for a in args]))


# --- signals ----------------------------------------------------------------------------------------------------------


def signal_signatures(qt_object: Any) -> dict[str, str]:
    """Returns the C++ signature of every signal of an object and the name of the PySide6 signal behind it.

    A stand-in whose signal carries a VTK object tells its true C++ signature in ``CPP_SIGNALS``: PySide6 cannot.
    """
    if not isinstance(qt_object, QtCore.QObject):
        return {}
    key = (type(qt_object), qt_object.metaObject().className())
    if key not in _signatures:
        _signatures[key] = _read_signatures(qt_object)
    return _signatures[key]


def _read_signatures(qt_object: QtCore.QObject) -> dict[str, str]:
    meta = qt_object.metaObject()
    methods = [meta.method(i) for i in range(meta.methodCount())]
    signals = [m for m in methods if m.methodType() == QtCore.QMetaMethod.MethodType.Signal]
    cpp = getattr(type(qt_object), "CPP_SIGNALS", {})
    hidden = set(cpp.values())
    found = {_text(m.methodSignature()): _text(m.name()) for m in signals if _text(m.name()) not in hidden}
    return {**found, **cpp}


def _text(raw: Any) -> str:
    return bytes(raw.data() if hasattr(raw, "data") else raw).decode()


class Signal:
    """A signal bound to its object, with PythonQt's connect, disconnect and emit."""

    def __init__(self, qt_object: Any, signature: str) -> None:
        self._object = qt_object
        self._signature = signature
        self._key = (_pointer(qt_object), signature)

    @classmethod
    def of(cls, qt_object: Any, signature: str) -> Signal:
        """Returns the signal with this C++ signature.

        Raises:
            ValueError: the class has no such signal (PythonQt would silently return False).
        """
        normal = _text(QtCore.QMetaObject.normalizedSignature(signature))  # type: ignore[arg-type]
        if normal not in signal_signatures(qt_object):
            raise ValueError(f"{type(qt_object).__name__} has no signal '{signature}'")
        return cls(qt_object, normal)

    def _pyside(self) -> Any:
        signal = getattr(self._object, signal_signatures(self._object)[self._signature])
        arguments = self._signature[self._signature.index("(") + 1 : -1]
        try:
            return signal[arguments] if arguments and "*" not in arguments else signal
        except (IndexError, KeyError, TypeError):
            return signal

    def connect(self, function: Callable[..., Any]) -> bool:
        """Calls `function` at every emission, with as many arguments as it takes."""
        if not callable(function):
            raise ValueError(f"{function!r} is not callable")
        count = 0 if "()" in self._signature else self._signature.count(",") + 1
        slot = guarded(function, count)
        self._pyside().connect(slot)
        _connections.setdefault(self._key, []).append((function, slot))
        return True

    def disconnect(self, *functions: Callable[..., Any]) -> bool:
        """Undoes `connect` for one function, or for all when none is given."""
        pairs = _connections.get(self._key, [])
        gone = [pair for pair in pairs if not functions or pair[0] == functions[0]]
        for pair in gone:
            self._pyside().disconnect(pair[1])
            pairs.remove(pair)
        return bool(gone)

    def emit(self, *args: Any) -> None:
        """Emits the signal."""
        self._pyside().emit(*[unwrap(a) for a in args])

    __call__ = emit


def guarded(function: Callable[..., Any], count: int) -> Callable[..., None]:
    """Returns a slot that passes as many arguments as the function takes, at most `count`, and keeps its errors."""
    limit = min(count, _positional(function))

    def slot(*args: Any) -> None:
        try:
            function(*[wrap(a) for a in args[:limit]])
        except Exception:
            slot_errors.append(traceback.format_exc())

    return slot


def _positional(function: Callable[..., Any]) -> int:
    """The number of arguments PythonQt passes: that of a plain function or method, defaults counted; else all."""
    plain = getattr(function, "__func__", function)
    if not inspect.isfunction(plain) or plain.__code__.co_flags & inspect.CO_VARARGS:
        return 1000
    return plain.__code__.co_argcount - int(inspect.ismethod(function))
