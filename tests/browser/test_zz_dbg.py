import time
from mscnn import pipeline
def test_b(visit, monkeypatch):
    real=pipeline._check_models
    monkeypatch.setattr(pipeline,"_check_models",lambda m:(time.sleep(1.5),real(m)))
    look = visit("?models=starter_resnet").ready()
    look.page.locator("#compare-run").click()
    look.page.wait_for_timeout(5000)
    print(look.page.locator("#compare-run").evaluate("e=>e.outerHTML"), look.page.locator("#compare-stop").is_visible())
    print(look.page.get_by_test_id("toast-text").all_inner_texts())
def test_c(visit, monkeypatch):
    look = visit("?models=starter_resnet").ready()
    look.page.locator("#compare-run").click()
    look.page.wait_for_timeout(5000)
    print(look.page.locator("#compare-run").evaluate("e=>e.outerHTML"), look.page.locator("#compare-stop").is_visible())
