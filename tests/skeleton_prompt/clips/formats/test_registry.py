import importlib
import pkgutil

from skeleton_prompt.clips import formats
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.registry import FORMATS


def test_every_format_that_a_module_defines_is_registered_under_a_name_of_its_own():
    names = [module.name for module in pkgutil.iter_modules(formats.__path__)]
    modules = [importlib.import_module(f"{formats.__name__}.{name}") for name in names]
    defined = {value.name for module in modules for value in vars(module).values() if isinstance(value, Format)}
    registered = [form.name for form in FORMATS]
    assert sorted(registered) == sorted(set(registered))
    assert defined == set(registered)
